// Checks histories with Porcupine and prints, one JSON object a line, the verdict and how long reading and checking took.
//
//	porcupine -model kv -repeat 5 -timeout 15s FILE...
//
// A file is a Jepsen log of etcd (.log), a key-value file (.txt) or one complete operation a line (.jsonl). Porcupine
// checks the keys of a history at the same time, on all processors.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type result struct {
	File       string    `json:"file"`
	Operations int       `json:"operations"`
	Verdict    string    `json:"verdict"`
	Read       float64   `json:"read"`
	Check      []float64 `json:"check"`
}

func main() {
	name := flag.String("model", "", "cas-register, kv, queue, stack or set")
	repeat := flag.Int("repeat", 1, "how many times each history is checked")
	timeout := flag.Duration("timeout", 15*time.Second, "after which a check is given up")
	flag.Parse()
	model, known := models[*name]
	if !known {
		fmt.Fprintf(os.Stderr, "no model is called %q\n", *name)
		os.Exit(64)
	}
	out := json.NewEncoder(os.Stdout)
	for _, path := range flag.Args() {
		began := time.Now()
		history, err := read(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(64)
		}
		found := result{File: path, Operations: len(history), Read: time.Since(began).Seconds()}
		for range *repeat {
			began = time.Now()
			verdict := porcupine.CheckOperationsTimeout(model, history, *timeout)
			found.Check = append(found.Check, time.Since(began).Seconds())
			found.Verdict = map[porcupine.CheckResult]string{porcupine.Ok: "valid", porcupine.Illegal: "invalid"}[verdict]
			if found.Verdict == "" {
				found.Verdict = "unknown"
				break
			}
		}
		if err := out.Encode(found); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(70)
		}
	}
}

func read(path string) ([]porcupine.Operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, 1<<20), 1<<28)
	take := map[string]func(*recorder, []byte, int64) error{
		".log": (*recorder).jepsen, ".txt": (*recorder).keyValue, ".jsonl": (*recorder).complete,
	}[filepath.Ext(path)]
	if take == nil {
		return nil, fmt.Errorf("%s: neither .log, .txt nor .jsonl", path)
	}
	held := &recorder{open: map[string]int{}}
	for at := int64(0); lines.Scan(); at++ {
		if err := take(held, lines.Bytes(), at); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, at+1, err)
		}
	}
	return held.history, lines.Err()
}

// recorder pairs invocations with their answers. An operation without an answer never returns.
type recorder struct {
	history []porcupine.Operation
	open    map[string]int
}

func (held *recorder) invoke(process string, in call, at int64) {
	held.open[process] = len(held.history)
	client, _ := strconv.Atoi(process)
	held.history = append(held.history, porcupine.Operation{
		ClientId: client, Input: in, Call: at, Output: answer{unknown: true}, Return: math.MaxInt64,
	})
}

func (held *recorder) answer(process string, out answer, at int64) {
	if place, known := held.open[process]; known {
		held.history[place].Output, held.history[place].Return = out, at
		delete(held.open, process)
	}
}

// jepsen takes a line such as `INFO  jepsen.util - 2 :invoke :cas [2 4]`. A read that timed out told nothing.
func (held *recorder) jepsen(line []byte, at int64) error {
	words := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(string(line)))
	place := slices.Index(words, "-")
	if place < 0 || len(words) < place+5 || words[0] != "INFO" {
		return nil
	}
	process, kind, f, values := words[place+1], words[place+2], strings.TrimPrefix(words[place+3], ":"), words[place+4:]
	numbers := make([]*int64, len(values))
	for i, value := range values {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			numbers[i] = &n
		}
	}
	if f != "read" && f != "write" && f != "cas" {
		return nil
	}
	switch kind {
	case ":invoke":
		in := call{f: f, a: numbers[0]}
		if f == "cas" {
			in.b = numbers[1]
		}
		held.invoke(process, in, at)
	case ":ok":
		held.answer(process, answer{number: numbers[0]}, at)
	case ":fail":
		if f == "cas" && len(numbers) == 2 {
			held.answer(process, answer{refused: true}, at)
		} else if f == "read" {
			held.answer(process, answer{unknown: true}, at)
		}
	}
	return nil
}

// keyValue takes a line such as `{:process 0, :type :ok, :f :get, :key "7", :value "x 0 0 y"}`.
func (held *recorder) keyValue(line []byte, at int64) error {
	fields := strings.SplitN(string(line), ", :", 5)
	if len(fields) != 5 {
		return fmt.Errorf("five fields expected")
	}
	process := strings.TrimPrefix(fields[0], "{:process ")
	kind, f := strings.TrimPrefix(fields[1], "type :"), strings.TrimPrefix(fields[2], "f :")
	key := strings.Trim(strings.TrimPrefix(fields[3], "key "), `"`)
	value := strings.Trim(strings.TrimSuffix(strings.TrimPrefix(fields[4], "value "), "}"), `"`)
	if kind == "invoke" {
		held.invoke(process, call{f: f, key: key, text: value}, at)
	} else {
		held.answer(process, answer{text: value}, at)
	}
	return nil
}

// complete takes an operation with its outcome. One that failed is left out, unless it is a refused compare-and-set.
func (held *recorder) complete(line []byte, _ int64) error {
	var op struct {
		F, Outcome, Error string
		Value             json.RawMessage
		Invoked           int64
		Completed         *int64
		Seen              []*int64
		Process           int
	}
	op.Outcome = "ok"
	if err := json.Unmarshal(line, &op); err != nil {
		return err
	}
	refused := op.Outcome == "fail" && op.Error == "mismatch"
	if op.Outcome == "fail" && !refused {
		return nil
	}
	in, out := call{f: op.F}, answer{unknown: op.Outcome == "info", refused: refused, seen: op.Seen}
	switch {
	case len(op.Value) > 0 && op.Value[0] == '[' && op.F == "cas":
		var pair [2]*int64
		if err := json.Unmarshal(op.Value, &pair); err != nil {
			return err
		}
		in.a, in.b = pair[0], pair[1]
	case len(op.Value) > 0 && op.Value[0] == '[':
		if err := json.Unmarshal(op.Value, &out.elements); err != nil {
			return err
		}
		slices.Sort(out.elements)
	case len(op.Value) > 0:
		if err := json.Unmarshal(op.Value, &in.a); err != nil {
			return err
		}
		out.number = in.a
	}
	returned := int64(math.MaxInt64)
	if op.Completed != nil && op.Outcome != "info" {
		returned = *op.Completed
	}
	held.history = append(held.history, porcupine.Operation{
		ClientId: op.Process, Input: in, Call: op.Invoked, Output: out, Return: returned,
	})
	return nil
}
