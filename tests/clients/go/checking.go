// What the checks share: a client, events whose number is in their data, and comparisons that say what was expected. What is
// not as expected panics, as a check is left at once and from any depth; `passes` tells it.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"time"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A client with the bound of the check that uses it, and the server's address.
type database struct {
	*kurrentdb.Client
	ctx     context.Context
	address string
}

// As many events as there are.
const everything = math.MaxUint64

func connect(ctx context.Context, address, target string) database {
	settings := must(kurrentdb.ParseConnectionString(target))
	settings.Logger = kurrentdb.NoopLogging()
	return database{must(kurrentdb.NewClient(settings)), ctx, address}
}

func (db database) close() { done(db.Close()) }

func (db database) append(stream string, expected kurrentdb.StreamState, events ...kurrentdb.EventData) (*kurrentdb.WriteResult, error) {
	return db.AppendToStream(db.ctx, stream, kurrentdb.AppendToStreamOptions{StreamState: expected}, events...)
}

func (db database) write(stream string, events ...kurrentdb.EventData) kurrentdb.Position {
	return placeOf(must(db.append(stream, kurrentdb.Any{}, events...)))
}

func (db database) read(stream string, options kurrentdb.ReadStreamOptions, count uint64) ([]*kurrentdb.ResolvedEvent, error) {
	return whole(db.ReadStream(db.ctx, stream, options, count))
}

func (db database) readAll(options kurrentdb.ReadAllOptions, count uint64) ([]*kurrentdb.ResolvedEvent, error) {
	return whole(db.ReadAll(db.ctx, options, count))
}

// The events of a stream from its beginning to its end.
func (db database) stream(name string) []*kurrentdb.ResolvedEvent {
	return must(db.read(name, kurrentdb.ReadStreamOptions{}, everything))
}

func whole(read *kurrentdb.ReadStream, err error) ([]*kurrentdb.ResolvedEvent, error) {
	if err != nil {
		return nil, err
	}
	defer read.Close()
	found := []*kurrentdb.ResolvedEvent{}
	for {
		event, err := read.Recv()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, event)
	}
}

func placeOf(written *kurrentdb.WriteResult) kurrentdb.Position {
	return kurrentdb.Position{Commit: written.CommitPosition, Prepare: written.PreparePosition}
}

func event(number int) kurrentdb.EventData { return typed("note.Taken", number) }

func typed(kind string, number int) kurrentdb.EventData { return identified(kind, number, uuid.New()) }

// An event whose id comes from a number, so that its append can be repeated.
func repeatable(number int, id int) kurrentdb.EventData {
	return identified("note.Taken", number, idOf(id))
}

func identified(kind string, number int, id uuid.UUID) kurrentdb.EventData {
	data := must(json.Marshal(map[string]int{"number": number}))
	return kurrentdb.EventData{EventID: id, EventType: kind, ContentType: kurrentdb.ContentTypeJson, Data: data}
}

// The events with these numbers.
func events(numbers []int) []kurrentdb.EventData { return each(numbers, event) }

func idOf(number int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("00c11e47-0000-4000-8000-%012x", number))
}

// The numbers from the one on and before the other.
func span(first, end int) []int {
	numbers := make([]int, 0, end-first)
	for number := first; number < end; number++ {
		numbers = append(numbers, number)
	}
	return numbers
}

func each[T, U any](list []T, function func(T) U) []U {
	found := make([]U, 0, len(list))
	for _, it := range list {
		found = append(found, function(it))
	}
	return found
}

func number(resolved *kurrentdb.ResolvedEvent) int {
	var data struct{ Number *int }
	done(json.Unmarshal(resolved.Event.Data, &data))
	truth(data.Number != nil, "no number in %s", resolved.Event.Data)
	return *data.Number
}

// A text in the event's metadata.
func property(resolved *kurrentdb.ResolvedEvent, name string) any {
	var metadata map[string]any
	done(json.Unmarshal(resolved.Event.UserMetadata, &metadata))
	return metadata[name]
}

func numbers(read []*kurrentdb.ResolvedEvent) []int { return each(read, number) }

func revision(resolved *kurrentdb.ResolvedEvent) int { return int(resolved.Event.EventNumber) }

func revisions(read []*kurrentdb.ResolvedEvent) []int { return each(read, revision) }

func position(resolved *kurrentdb.ResolvedEvent) kurrentdb.Position { return resolved.Event.Position }

func must[T any](value T, err error) T {
	done(err)
	return value
}

func done(err error) {
	if err != nil {
		panic(err)
	}
}

func truth(value bool, what string, arguments ...any) {
	if !value {
		panic(fmt.Sprintf(what, arguments...))
	}
}

func equal[T any](found, expected T, what string, arguments ...any) {
	truth(reflect.DeepEqual(found, expected), "%s: expected %s, found %s",
		fmt.Sprintf(what, arguments...), shortened(expected), shortened(found))
}

func shortened(value any) string {
	text := fmt.Sprintf("%+v", value)
	if len(text) < 400 {
		return text
	}
	return text[:200] + " … " + text[len(text)-200:]
}

// The error of a call that should have one.
func failing[T any](_ T, err error) error { return err }

// The error with exactly this code that a call must end with.
func refused(code kurrentdb.ErrorCode, err error) *kurrentdb.Error {
	truth(err != nil, "expected the error code %d, but it was answered", code)
	var found *kurrentdb.Error
	truth(errors.As(err, &found), "expected the error code %d, found %T: %v", code, err, err)
	truth(found.Code() == code, "expected the error code %d, found %d: %v", code, found.Code(), err)
	return found
}

// The client has no code of its own for this error, and hands on the status, without its trailers.
func refusedWith(code codes.Code, text string, err error) {
	told := status.Convert(refused(kurrentdb.ErrorCodeUnknown, err).Err())
	equal(told.Code(), code, "the status of %v", err)
	equal(told.Message(), text, "its text")
}

// The cause, of this type, of an error.
func cause[T error](found *kurrentdb.Error) T {
	var cause T
	truth(errors.As(found.Err(), &cause), "expected %T as the cause, found %T", cause, found.Err())
	return cause
}

// Waits until this is so.
func within(what string, look func() bool) {
	for end := time.Now().Add(15 * time.Second); !look(); time.Sleep(20 * time.Millisecond) {
		truth(time.Now().Before(end), "%s: not within 15 s", what)
	}
}

// A function that runs beside the check, whose panic is that of `finished`.
type worker chan any

func beside(function func()) worker {
	worker := make(worker, 1)
	go func() {
		defer func() { worker <- recover() }()
		function()
	}()
	return worker
}

func (worker worker) finished(what string) {
	select {
	case why := <-worker:
		truth(why == nil, "%s: %v", what, why)
	case <-time.After(120 * time.Second):
		panic(what + ": not within 120 s")
	}
}
