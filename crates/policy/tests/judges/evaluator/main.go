// Judges connections by cyclonus' evaluator of NetworkPolicies, which shares no code with Weir's: a cluster and its questions
// as one line of JSON on standard input, verdicts as one line of JSON on standard output, until the input ends.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

type end struct {
	// Empty outside the cluster.
	Namespace       string            `json:"namespace"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	Labels          map[string]string `json:"labels"`
	Address         string            `json:"address"`
}

type question struct {
	Source      end    `json:"source"`
	Destination end    `json:"destination"`
	Protocol    string `json:"protocol"`
	Port        int    `json:"port"`
	// The name that the destination gives the port; empty if none.
	PortName string `json:"portName"`
}

type cluster struct {
	Policies  []*networking.NetworkPolicy `json:"policies"`
	Questions []question                  `json:"questions"`
}

func peer(e end) *matcher.TrafficPeer {
	if e.Namespace == "" {
		return &matcher.TrafficPeer{IP: e.Address}
	}
	return &matcher.TrafficPeer{IP: e.Address, Internal: &matcher.InternalPeer{
		Namespace: e.Namespace, NamespaceLabels: e.NamespaceLabels, PodLabels: e.Labels,
	}}
}

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	output := json.NewEncoder(os.Stdout)
	for input.Scan() {
		var asked cluster
		if err := json.Unmarshal(input.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		policies := matcher.BuildNetworkPolicies(false, asked.Policies)
		verdicts := make([]bool, 0, len(asked.Questions))
		for _, q := range asked.Questions {
			verdicts = append(verdicts, policies.IsTrafficAllowed(&matcher.Traffic{
				Source: peer(q.Source), Destination: peer(q.Destination),
				ResolvedPort: q.Port, ResolvedPortName: q.PortName, Protocol: core.Protocol(q.Protocol),
			}).IsAllowed())
		}
		if err := output.Encode(verdicts); err != nil {
			log.Fatal(err)
		}
	}
	if err := input.Err(); err != nil {
		log.Fatal(err)
	}
}
