module shardpair.io/examples/client

go 1.21
