// KurrentDB's Go client against the server at HOST:PORT: every check in turn, with a line `ok NAME` for each that passes.
// At the first one that fails it says why and ends with 1. With a word behind the address, only the checks with it in their
// names.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// The longest that one check may take; every call ends with it.
const checkTime = 150 * time.Second

type check struct {
	name string
	run  func(db database)
}

var checks = []check{
	{"appends meet what they expect", expectations},
	{"wrong expectations are told", wrongExpectations},
	{"repetitions write nothing twice", repetitions},
	{"an append of many events is one", manyEvents},
	{"many appends run at once", manyAppends},
	{"large events come back whole", largeEvents},
	{"streams are read both ways", streamsBothWays},
	{"all events are read both ways", allBothWays},
	{"links are followed", links},
	{"filters choose by type and stream", filters},
	{"missing streams are told", missingStreams},
	{"deleted streams are told from tombstones", deletedAndTombstoned},
	{"metadata hides events", metadata},
	{"a subscription goes live under load", liveUnderLoad},
	{"a filtered subscription goes on behind its checkpoint", checkpoints},
	{"a subscription says when it has caught up", caughtUp},
	{"a cancelled or late call ends", cancelledAndLate},
	{"consumers of a group share its events", sharedGroup},
	{"events are retried, parked and replayed", retriedAndParked},
	{"a group reads all events", groupOfAll},
	{"groups are listed, changed and deleted", listedAndChanged},
	{"a group's errors are told", groupErrors},
	{"appends over several streams are one", severalStreams},
	{"the server is discovered", discovered},
	{"nothing acknowledged is lost with the server killed", killed},
	{"conditions hold over several streams", conditions},
}

func main() {
	address, word := os.Args[1], ""
	if len(os.Args) > 2 {
		word = os.Args[2]
	}
	for _, it := range checks {
		if !strings.Contains(it.name, word) {
			continue
		}
		if !passes(it, address) {
			fmt.Fprintln(os.Stderr, "FAILED "+it.name)
			os.Exit(1)
		}
		fmt.Println("ok " + it.name)
	}
}

// Whether the check passes with a client of its own; if not, why and where is told.
func passes(it check, address string) (passed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	defer func() {
		if why := recover(); why != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", why, debug.Stack())
		}
	}()
	db := connect(ctx, address, "kurrentdb://"+address+"?tls=false")
	defer db.close()
	it.run(db)
	return true
}
