"""The golden vectors, and an older map: python3 -m unittest test_shardpair"""
import json, pathlib, unittest
from shardpair import residue, shard_of

VECTORS = json.loads((pathlib.Path(__file__).parent / "../../docs/routing-vectors.json").read_text())


def read(key):
    (kind, value), = key.items()
    return {"int": int, "text": str, "hex": bytes.fromhex}[kind](value)


class Vectors(unittest.TestCase):
    def test_residues(self):
        self.assertGreater(len(VECTORS["residues"]), 60)
        for v in VECTORS["residues"]:
            self.assertEqual(residue(v["function"], v["modulus"], read(v["key"])), v["residue"], v)

    def test_ranges(self):
        for v in VECTORS["ranges"]:
            bounds = {k: v[k] for k in ("from", "to") if v[k] is not None}
            low, high = dict(bounds, id=0, to=v["at"]), {**bounds, "id": 1, "from": v["at"]}
            m = {"strategy": "Range", "tables": [{"name": "t"}], "shards": [low, high]}
            try:
                found = shard_of(m, "t", read(v["key"]))["id"]
            except StopIteration:
                found = None
            self.assertEqual(found, v["class"], v)

    def test_refused(self):
        for v in VECTORS["refused"]:
            m = {"strategy": "Hash", "function": v["function"], "tables": [{"name": "t"}], "shards": [{"id": 0, "modulus": 1, "residue": 0}]}
            with self.assertRaises((TypeError, ValueError)):
                shard_of(m, "t", None if v["key"] is None else read(v["key"]))
            with self.assertRaises(KeyError):
                shard_of(m, "unknown", 1)
