package main

import (
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"testing"
)

func TestGoldenVectors(t *testing.T) {
	text, err := os.ReadFile("../../../docs/routing-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Residues []struct {
			Function         string
			Modulus, Residue int64
			Key              map[string]string
		}
		Ranges []struct {
			From, To *int64
			At       int64
			Key      map[string]string
			Class    *int
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	read := func(key map[string]string) any {
		if n, ok := key["int"]; ok {
			i, _ := new(big.Int).SetString(n, 10)
			return i
		}
		if h, ok := key["hex"]; ok {
			raw, _ := hex.DecodeString(h)
			return raw
		}
		return key["text"]
	}
	for _, v := range file.Residues {
		if got, err := Residue(v.Function, v.Modulus, read(v.Key)); err != nil || got != v.Residue {
			t.Errorf("%v: %d, %v", v, got, err)
		}
	}
	for _, v := range file.Ranges {
		at := v.At
		m := Map{Strategy: "Range", Shards: []Shard{{ID: 0, From: v.From, To: &at}, {ID: 1, From: &at, To: v.To}}}
		m.Tables = append(m.Tables, struct{ Name, Class string }{"t", ""})
		s, err := m.ShardOf("t", read(v.Key))
		if (v.Class == nil) != (err != nil) || v.Class != nil && s.ID != *v.Class {
			t.Errorf("%v: %v, %v", v, s, err)
		}
	}
	if len(file.Residues) < 60 || len(file.Ranges) < 15 {
		t.Errorf("%d and %d vectors", len(file.Residues), len(file.Ranges))
	}
}
