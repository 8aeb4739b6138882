"""Which shard a key belongs to: a whole client in sixty lines. docs/clients.md is the contract.

  python3 shardpair.py http://shardpair-route.shardpair-system/v1/clusters/default/shop shop.orders 42
"""
import json, sys, threading, time, urllib.error, urllib.request, zlib


def residue(function, modulus, key):
    if function == "Mod":
        if not isinstance(key, int) or isinstance(key, bool):
            raise TypeError("function Mod needs an integer key")
        return key % modulus  # Python's % is never negative
    raw = key if isinstance(key, bytes) else str(key).encode()
    return zlib.crc32(raw) % modulus


def holds(m, shard, key):
    if m["strategy"] == "Hash":
        return residue(m["function"], shard["modulus"], key) == shard["residue"]
    if m["strategy"] == "Range":
        if not isinstance(key, int):
            raise TypeError("strategy Range needs an integer key")
        return shard.get("from", key) <= key and (shard.get("to") is None or key < shard["to"])
    text = key.decode() if isinstance(key, bytes) else str(key)
    route = m["routes"]["entries"].get(text, m["routes"].get("default"))
    return route == shard.get("route", shard["id"]) and residue("Crc32", shard.get("modulus", 1), key) == shard.get("residue", 0)


def shard_of(m, table, key):
    if key is None:
        raise ValueError("the shard key is NULL")
    if not any(t["name"] == table and t.get("class", "Sharded") == "Sharded" for t in m["tables"]):
        raise KeyError(f"{table} is not a sharded table of the map")
    return next(s for s in m["shards"] if holds(m, s, key))


class Router:
    """Keeps the map: a newer epoch replaces it, anything else leaves it as it is."""

    def __init__(self, url, client="python"):
        self.url, self.client, self.map, self.etag = url, client, None, ""
        self.poll(0)
        threading.Thread(target=self.follow, daemon=True).start()

    def poll(self, wait):
        epoch = str(self.map["epoch"]) if self.map else ""
        headers = {"If-None-Match": self.etag, "shardpair-client": self.client, "shardpair-epoch": epoch}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.url}/map?wait={wait}", headers=headers), timeout=wait + 5) as reply:
                new, self.etag = json.load(reply), reply.headers["ETag"]
        except urllib.error.HTTPError as e:
            if e.code != 304:
                raise
            return
        if new["version"] == 1 and (self.map is None or new["epoch"] > self.map["epoch"]):
            self.map = new

    def follow(self):
        while True:
            try:
                self.poll(30)
            except Exception as e:
                print("the map in use stays:", e, file=sys.stderr)
                time.sleep(1)


if __name__ == "__main__":
    url, table, key = sys.argv[1:]
    found = shard_of(Router(url).map, table, int(key) if key.lstrip("-").isdigit() else key)
    print(found["id"], found["vip"], found["port"])
