# Syntax trees of the standard library, and a table of records with an index.
import ast, glob, os, random, sys

library = os.path.dirname(os.__file__)
trees = []
for path in sorted(glob.glob(library + "/*.py"))[:80]:
    with open(path, encoding="utf-8", errors="replace") as source:
        trees.append((path, ast.parse(source.read())))
random.seed(1)
records = [
    {"id": i, "name": "user %d" % i, "balance": random.random() * 1e4, "tags": [random.choice("abcdef") for _ in range(3)]}
    for i in range(60000)
]
by_name = {record["name"]: record for record in records}
print("ready", flush=True)
sys.stdin.read()
