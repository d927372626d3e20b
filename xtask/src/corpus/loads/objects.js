// A document store: parsed JSON, maps of objects, strings, typed arrays, closures.
let seed = 1;
const random = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
const words = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split(" ");
const documents = new Map();
for (let i = 0; i < 60000; i++) {
  documents.set("doc:" + i, {
    id: i,
    title: words[random(12)] + " " + words[random(12)] + " " + i,
    score: random(100000) / 7,
    tags: [words[random(12)], words[random(12)]],
    at: new Date(1.6e12 + random(1e9)),
    open: random(2) === 1,
  });
}
const parsed = JSON.parse(JSON.stringify([...documents.values()].slice(0, 20000)));
const numbers = new Float64Array(200000).map((_, i) => Math.sqrt(i));
const listeners = parsed.map((d) => () => d.title.length);
process.stdout.write("ready\n");
process.stdin.resume();
globalThis.keep = [documents, parsed, numbers, listeners];
