// The server is found by discovery, and killed under appends: the test that runs this program kills it at `KILL ME` and
// says `killed` on standard input once it is there again.

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

const (
	// Appends that are acknowledged before the kill.
	beforeKill = 200
	// Those behind it.
	behindKill = 200
)

func discovered(db database) {
	for index, target := range []string{
		"kdb+discover://" + db.address, "kurrentdb+discover://" + db.address, "kurrentdb://127.0.0.1:1," + db.address,
	} {
		found := connect(db.ctx, db.address, target+"?tls=false&maxDiscoverAttempts=3&discoveryInterval=100")
		stream := fmt.Sprintf("found-%d", index)
		must(found.append(stream, kurrentdb.NoStream{}, event(1)))
		equal(numbers(found.stream(stream)), []int{1}, "%s", target)
		members := must(found.Gossip(db.ctx))
		equal(len(members), 1, "the members")
		endpoint := members[0].GetHttpEndPoint()
		equal(fmt.Sprintf("%s:%d", endpoint.GetAddress(), endpoint.GetPort()), db.address, "the address that it tells")
		equal(members[0].GetState().String(), "Leader", "its state")
		found.close()
	}
	nowhere := connect(db.ctx, db.address, "kurrentdb+discover://127.0.0.1:1?tls=false&maxDiscoverAttempts=2&discoveryInterval=10")
	defer nowhere.close()
	refused(kurrentdb.ErrorUnavailable, failing(nowhere.append("found-nowhere", kurrentdb.Any{}, event(1))))
}

func killed(db database) {
	var back atomic.Bool
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		back.Store(line == "killed\n")
	}()
	end := time.Now().Add(100 * time.Second)
	acknowledged, failures, behind := 0, 0, 0
	for behind < behindKill {
		truth(time.Now().Before(end), "100 s are over: %d acknowledged, %d failed", acknowledged, failures)
		var expected kurrentdb.StreamState = kurrentdb.NoStream{}
		if acknowledged > 0 {
			expected = kurrentdb.Revision(uint64(acknowledged - 1))
		}
		// A repetition has the same id, so it is written once, whatever became of the one before.
		written, err := db.append("killed", expected, repeatable(acknowledged, 1000+acknowledged))
		if err != nil {
			var told *kurrentdb.Error
			truth(errors.As(err, &told) && told.Code() != kurrentdb.ErrorCodeWrongExpectedVersion, "an append: %v", err)
			failures++
			time.Sleep(50 * time.Millisecond)
			// The client gives up for good once it has looked for the server in vain for long enough.
			if told.Code() == kurrentdb.ErrorCodeConnectionClosed {
				db = connect(db.ctx, db.address, "kurrentdb://"+db.address+"?tls=false")
				defer db.close()
			}
			continue
		}
		equal(written.NextExpectedVersion, uint64(acknowledged), "the revision")
		acknowledged++
		if back.Load() {
			behind++
		}
		if acknowledged == beforeKill {
			fmt.Println("KILL ME")
		}
	}
	read := db.stream("killed")
	equal(numbers(read), span(0, acknowledged), "every acknowledged event, once, in order")
	equal(revisions(read), span(0, acknowledged), "their revisions")
	equal(each(read, func(it *kurrentdb.ResolvedEvent) uuid.UUID { return it.Event.EventID }),
		each(span(1000, 1000+acknowledged), idOf), "their ids")
}
