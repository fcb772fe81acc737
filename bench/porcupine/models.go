package main

import (
	"hash/fnv"
	"slices"
	"sort"

	"github.com/anishathalye/porcupine"
)

// call is what an operation was asked, answer what it was told. A nil number stands for "no value".
type call struct {
	f        string
	key      string
	text     string
	a, b     *int64
	elements []int64
}

type answer struct {
	text     string
	number   *int64
	elements []int64
	refused  bool
	seen     []*int64
	unknown  bool
}

const absent = int64(-1 << 62)

func number(n *int64) int64 {
	if n == nil {
		return absent
	}
	return *n
}

// register is a compare-and-set register that begins without a value. A refused compare-and-set found another value.
var register = porcupine.Model{
	Init: func() interface{} { return absent },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		held, in, out := state.(int64), input.(call), output.(answer)
		switch in.f {
		case "read":
			return out.unknown || number(out.number) == held, state
		case "write":
			return true, *in.a
		}
		same := held == number(in.a)
		if !out.unknown && same == out.refused {
			return false, state
		}
		if len(out.seen) == 1 && number(out.seen[0]) != held {
			return false, state
		}
		if same {
			return true, number(in.b)
		}
		return true, state
	},
}

// text is a string with get, put and append; every key is a string of its own.
var text = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, operation := range history {
			key := operation.Input.(call).key
			byKey[key] = append(byKey[key], operation)
		}
		keys := make([]string, 0, len(byKey))
		for key := range byKey {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		parts := make([][]porcupine.Operation, 0, len(keys))
		for _, key := range keys {
			parts = append(parts, byKey[key])
		}
		return parts
	},
	Init: func() interface{} { return "" },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		held, in, out := state.(string), input.(call), output.(answer)
		switch in.f {
		case "get":
			return out.unknown || out.text == held, state
		case "put":
			return true, in.text
		}
		return true, held + in.text
	},
	Hash: func(state interface{}) uint64 {
		sum := fnv.New64a()
		sum.Write([]byte(state.(string)))
		return sum.Sum64()
	},
}

// pile is an immutable list, the youngest first, with a hash of all of it.
type pile struct {
	top  int64
	rest *pile
	size int
	hash uint64
}

func push(rest *pile, top int64) *pile {
	held := &pile{top: top, rest: rest, size: 1, hash: uint64(top)*0x9E3779B97F4A7C15 + 1}
	if rest != nil {
		held.size += rest.size
		held.hash ^= rest.hash * 0x100000001B3
	}
	return held
}

func same(one, other *pile) bool {
	for one != other {
		if one == nil || other == nil || one.hash != other.hash || one.size != other.size || one.top != other.top {
			return false
		}
		one, other = one.rest, other.rest
	}
	return true
}

var stack = porcupine.Model{
	Init: func() interface{} { return (*pile)(nil) },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		held, in, out := state.(*pile), input.(call), output.(answer)
		if in.f == "push" {
			return true, push(held, *in.a)
		}
		if held == nil {
			return out.unknown || out.number == nil, state
		}
		return out.unknown || number(out.number) == held.top, held.rest
	},
	Equal: func(one, other interface{}) bool { return same(one.(*pile), other.(*pile)) },
	Hash: func(state interface{}) uint64 {
		if held := state.(*pile); held != nil {
			return held.hash
		}
		return 0
	},
}

func hashOf(elements []int64) uint64 {
	sum := uint64(14695981039346656037)
	for _, element := range elements {
		sum = (sum ^ uint64(element)) * 1099511628211
	}
	return sum
}

var queue = porcupine.Model{
	Init: func() interface{} { return []int64{} },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		held, in, out := state.([]int64), input.(call), output.(answer)
		if in.f == "enqueue" {
			return true, append(slices.Clone(held), *in.a)
		}
		if len(held) == 0 {
			return out.unknown || out.number == nil, state
		}
		return out.unknown || number(out.number) == held[0], held[1:]
	},
	Equal: func(one, other interface{}) bool { return slices.Equal(one.([]int64), other.([]int64)) },
	Hash:  func(state interface{}) uint64 { return hashOf(state.([]int64)) },
}

// set keeps its elements in order.
var set = porcupine.Model{
	Init: func() interface{} { return []int64{} },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		held, in, out := state.([]int64), input.(call), output.(answer)
		if in.f == "read" {
			return out.unknown || slices.Equal(held, out.elements), state
		}
		at, found := slices.BinarySearch(held, *in.a)
		switch {
		case in.f == "add" && !found:
			return true, slices.Insert(slices.Clone(held), at, *in.a)
		case in.f == "remove" && found:
			return true, slices.Delete(slices.Clone(held), at, at+1)
		}
		return true, state
	},
	Equal: func(one, other interface{}) bool { return slices.Equal(one.([]int64), other.([]int64)) },
	Hash:  func(state interface{}) uint64 { return hashOf(state.([]int64)) },
}

var models = map[string]porcupine.Model{
	"cas-register": register, "kv": text, "queue": queue, "stack": stack, "set": set,
}
