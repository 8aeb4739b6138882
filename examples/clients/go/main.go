// Which shard a key belongs to: a whole client. docs/clients.md is the contract.
//
//	go run . http://shardpair-route.shardpair-system/v1/clusters/default/shop shop.orders 42
package main

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/http"
	"os"
)

type Shard struct {
	ID                      int
	Modulus, Residue, Route *int64
	From, To                *int64
	VIP                     string
	Port                    int
}

type Map struct {
	Version, Epoch     int64
	Strategy, Function string
	Routes             struct {
		Default *int64
		Entries map[string]int64
	}
	Tables []struct{ Name, Class string }
	Shards []Shard
}

func or(p *int64, other int64) int64 {
	if p == nil {
		return other
	}
	return *p
}

// Residue of a key: *big.Int (any 64-bit integer), string (UTF-8) or []byte. Never negative.
func Residue(function string, modulus int64, key any) (int64, error) {
	n, integer := key.(*big.Int)
	if function == "Mod" {
		if !integer {
			return 0, fmt.Errorf("function Mod needs an integer key")
		}
		return new(big.Int).Mod(n, big.NewInt(modulus)).Int64(), nil
	}
	raw, bytes := key.([]byte)
	if !bytes {
		raw = []byte(fmt.Sprint(key))
	}
	return int64(crc32.ChecksumIEEE(raw)) % modulus, nil
}

func (m *Map) ShardOf(table string, key any) (*Shard, error) {
	known := false
	for _, t := range m.Tables {
		known = known || t.Name == table && (t.Class == "" || t.Class == "Sharded")
	}
	if !known || key == nil {
		return nil, fmt.Errorf("%s is no sharded table of the map, or the key is NULL", table)
	}
	for i, s := range m.Shards {
		function, modulus, residue := m.Function, or(s.Modulus, 1), or(s.Residue, 0)
		if m.Strategy == "Range" {
			n, integer := key.(*big.Int)
			if !integer {
				return nil, fmt.Errorf("strategy Range needs an integer key")
			}
			if (s.From == nil || n.Cmp(big.NewInt(*s.From)) >= 0) && (s.To == nil || n.Cmp(big.NewInt(*s.To)) < 0) {
				return &m.Shards[i], nil
			}
			continue
		}
		if m.Strategy == "Table" {
			function = "Crc32"
			route, listed := m.Routes.Entries[fmt.Sprintf("%s", key)]
			if !listed {
				route = or(m.Routes.Default, -1)
			}
			if route != or(s.Route, int64(s.ID)) {
				continue
			}
		}
		r, err := Residue(function, modulus, key)
		if err != nil {
			return nil, err
		}
		if r == residue {
			return &m.Shards[i], nil
		}
	}
	return nil, fmt.Errorf("no shard of the map holds this key")
}

// Fetch asks for the map; with the etag of the one in use and wait, as soon as there is another one (nil: there is none yet).
func Fetch(url, etag string, epoch, wait int64) (*Map, string, error) {
	request, err := http.NewRequest("GET", fmt.Sprintf("%s/map?wait=%d", url, wait), nil)
	if err != nil {
		return nil, etag, err
	}
	for name, value := range map[string]string{"If-None-Match": etag, "shardpair-client": "go", "shardpair-epoch": fmt.Sprint(epoch)} {
		request.Header.Set(name, value)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil || reply.StatusCode == 304 {
		return nil, etag, err
	}
	defer reply.Body.Close()
	m := new(Map)
	if reply.StatusCode != 200 {
		return nil, etag, fmt.Errorf("%s: %s", url, reply.Status)
	}
	if err = json.NewDecoder(reply.Body).Decode(m); err == nil && m.Version != 1 {
		err = fmt.Errorf("map version %d", m.Version)
	}
	return m, reply.Header.Get("ETag"), err
}

func main() {
	m, _, err := Fetch(os.Args[1], "", 0, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var key any = os.Args[3]
	if n, integer := new(big.Int).SetString(os.Args[3], 10); integer {
		key = n
	}
	s, err := m.ShardOf(os.Args[2], key)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.ID, s.VIP, s.Port)
}
