// A broker for the tests of the Kafka pipelines: kfake, of the makers of the client library that the Collector uses.
// It is no Kafka; what it proves is what the pipelines write and read.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	cluster := kfake.MustCluster(
		kfake.NumBrokers(1),
		kfake.Ports(port),
		kfake.SeedTopics(3, "otlp_spans", "otlp_logs"),
		kfake.BrokerConfigs(map[string]string{"max.message.bytes": "34603008"}),
	)
	defer cluster.Close()
	fmt.Println("ready", cluster.ListenAddrs()[0])
	select {}
}
