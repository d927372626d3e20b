// A graph service: maps of structs, slices, strings, channels with buffers.
package main

import (
	"fmt"
	"math/rand"
	"os"
)

type node struct {
	id     int64
	name   string
	weight float64
	next   []*node
	attrs  map[string]int
}

func main() {
	random := rand.New(rand.NewSource(2))
	nodes := make(map[int64]*node)
	var order []*node
	for i := int64(0); i < 120000; i++ {
		n := &node{id: i, name: fmt.Sprintf("node-%d", i), weight: random.Float64()}
		if i%4 == 0 {
			n.attrs = map[string]int{"degree": int(i % 17), "class": random.Intn(5)}
		}
		for k := 0; k < 4 && len(order) > 0; k++ {
			n.next = append(n.next, order[random.Intn(len(order))])
		}
		nodes[i] = n
		order = append(order, n)
	}
	queue := make(chan node, 10000)
	for _, n := range order[:10000] {
		queue <- *n
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	fmt.Println(len(nodes), len(queue))
}
