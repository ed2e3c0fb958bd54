// Appends: every expectation, right and wrong, repetitions, many events at once, many appends at once, large events.

package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"sort"
	"sync"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

func expectations(db database) {
	expected := []kurrentdb.StreamState{
		kurrentdb.NoStream{}, kurrentdb.Any{}, kurrentdb.StreamExists{}, kurrentdb.Revision(2), kurrentdb.Revision(3),
	}
	places := []kurrentdb.Position{}
	for number, state := range expected {
		written := must(db.append("expected", state, event(number)))
		equal(written.NextExpectedVersion, uint64(number), "the revision of one that expects %T", state)
		equal(written.CommitPosition, written.PreparePosition, "both positions")
		places = append(places, placeOf(written))
	}
	read := db.stream("expected")
	equal(numbers(read), span(0, 5), "the events")
	equal(revisions(read), span(0, 5), "their revisions")
	equal(each(read, position), places, "their positions")
}

func wrongExpectations(db database) {
	// What was expected and what is there the client tells in a text alone.
	wrong := func(stream string, expected kurrentdb.StreamState, told, actual string) {
		err := refused(kurrentdb.ErrorCodeWrongExpectedVersion, failing(db.append(stream, expected, event(2))))
		equal(err.Err().Error(), fmt.Sprintf("wrong expected version: expecting '%s' but got '%s'", told, actual), "%s", stream)
	}
	wrong("never-written", kurrentdb.StreamExists{}, "stream_exists", "no_stream")
	wrong("never-written", kurrentdb.Revision(0), "0", "no_stream")
	wrong("never-written", kurrentdb.Revision(7), "7", "no_stream")
	for last := range 2 {
		equal(must(db.append("wrong", kurrentdb.Any{}, event(1))).NextExpectedVersion, uint64(last), "the last revision")
		is := fmt.Sprint(last)
		wrong("wrong", kurrentdb.NoStream{}, "no_stream", is)
		wrong("wrong", kurrentdb.Revision(uint64(last)+1), fmt.Sprint(last+1), is)
		wrong("wrong", kurrentdb.Revision(99), "99", is)
	}
	equal(numbers(db.stream("wrong")), []int{1, 1}, "nothing that was refused is written")
	refused(kurrentdb.ErrorCodeResourceNotFound, failing(db.read("never-written", kurrentdb.ReadStreamOptions{}, 1)))
}

func repetitions(db database) {
	first, second, third := repeatable(1, 1), repeatable(2, 2), repeatable(3, 3)
	one := must(db.append("repeated", kurrentdb.NoStream{}, first))
	two := must(db.append("repeated", kurrentdb.Revision(0), second, third))
	for _, expected := range []kurrentdb.StreamState{kurrentdb.NoStream{}, kurrentdb.Any{}} {
		equal(must(db.append("repeated", expected, first)), one, "again, expecting %T", expected)
	}
	for _, expected := range []kurrentdb.StreamState{kurrentdb.Revision(0), kurrentdb.Any{}, kurrentdb.StreamExists{}} {
		equal(must(db.append("repeated", expected, second, third)), two, "both again, expecting %T", expected)
	}
	other := failing(db.append("repeated", kurrentdb.Revision(0), second, event(9)))
	refused(kurrentdb.ErrorCodeWrongExpectedVersion, other)
	equal(numbers(db.stream("repeated")), []int{1, 2, 3}, "each event once")
}

func manyEvents(db database) {
	written := must(db.append("many", kurrentdb.NoStream{}, events(span(0, 3000))...))
	equal(written.NextExpectedVersion, 2999, "the last revision")
	read := db.stream("many")
	equal(numbers(read), span(0, 3000), "every event in order")
	equal(position(read[2999]), placeOf(written), "the position is that of the last event")
	wrong := failing(db.append("many", kurrentdb.Revision(17), events(span(3000, 6000))...))
	refused(kurrentdb.ErrorCodeWrongExpectedVersion, wrong)
	last := kurrentdb.ReadStreamOptions{Direction: kurrentdb.Backwards, From: kurrentdb.End{}}
	equal(revisions(must(db.read("many", last, 1))), []int{2999}, "a refused append writes none of its events")

	// The client sends each event as a frame of its own.
	failures := make([]error, 32)
	var appends sync.WaitGroup
	for number := range failures {
		appends.Add(1)
		go func() {
			defer appends.Done()
			stream := fmt.Sprintf("many-at-once-%d", number)
			_, failures[number] = db.append(stream, kurrentdb.NoStream{}, events(span(0, 3000))...)
		}()
	}
	appends.Wait()
	for number, failure := range failures {
		done(failure)
		read := must(db.read(fmt.Sprintf("many-at-once-%d", number), last, 1))
		equal(revisions(read), []int{2999}, "each append is whole")
	}
}

func manyAppends(db database) {
	places, failures := make([]kurrentdb.Position, 1000), make([]error, 1000)
	var appends sync.WaitGroup
	for number := range places {
		appends.Add(1)
		go func() {
			defer appends.Done()
			written, err := db.append(fmt.Sprintf("crowd-%d", number%10), kurrentdb.Any{}, event(number))
			if failures[number] = err; err == nil {
				places[number] = placeOf(written)
			}
		}()
	}
	appends.Wait()
	own := map[kurrentdb.Position]bool{}
	for number, place := range places {
		done(failures[number])
		own[place] = true
	}
	equal(len(own), 1000, "positions of their own")
	for stream := range 10 {
		read := db.stream(fmt.Sprintf("crowd-%d", stream))
		found := numbers(read)
		equal(each(read, position), each(found, func(number int) kurrentdb.Position { return places[number] }),
			"positions of crowd-%d", stream)
		equal(revisions(read), span(0, 100), "revisions of crowd-%d", stream)
		sort.Ints(found)
		equal(found, each(span(0, 100), func(index int) int { return index*10 + stream }), "crowd-%d", stream)
	}
}

func largeEvents(db database) {
	written := each([]int{0, 1 << 20, 5 << 20}, func(size int) kurrentdb.EventData {
		data := make([]byte, size)
		must(rand.Read(data))
		return kurrentdb.EventData{EventID: uuid.New(), EventType: "blob", Data: data, Metadata: []byte{1, 0, 255}}
	})
	for _, it := range written {
		db.write("large", it)
	}
	must(db.append("large-at-once", kurrentdb.NoStream{}, written...))
	for _, stream := range []string{"large", "large-at-once"} {
		read := db.stream(stream)
		equal(len(read), len(written), "the events of %s", stream)
		for index, expected := range written {
			found := read[index].Event
			truth(bytes.Equal(found.Data, expected.Data), "%d bytes of %s", len(expected.Data), stream)
			equal(found.UserMetadata, expected.Metadata, "the metadata")
			equal(found.ContentType, "application/octet-stream", "the content type")
			equal(found.EventID, expected.EventID, "the id")
		}
	}
}
