import static java.util.Arrays.asList;

import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.Position;
import io.kurrent.dbclient.ReadResult;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.RecordedEvent;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.WriteResult;
import io.kurrent.dbclient.WrongExpectedVersionException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;

/** Appends: every expectation, right and wrong, repetitions, many events, many appends at once, large events. */
final class Appends {
    private static final StreamState ANY = StreamState.any();
    private static final StreamState NO_STREAM = StreamState.noStream();
    private static final StreamState EXISTS = StreamState.streamExists();

    private Appends() {}

    private static StreamState revision(long revision) {
        return StreamState.streamRevision(revision);
    }

    static void expectations(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        List<Position> positions = new ArrayList<>();
        int number = 0;
        for (StreamState expected : asList(NO_STREAM, ANY, EXISTS, revision(2), revision(3))) {
            WriteResult written =
                Checking.soon(db.appendToStream("expected", Checking.expecting(expected), Checking.event(number)));
            Checking.equal(written.getNextExpectedRevision(), revision(number), "the revision behind " + expected);
            positions.add(written.getLogPosition());
            number += 1;
        }
        ReadResult read = Checking.read(db, "expected");
        Checking.equal(Checking.numbers(read), Checking.range(0, 5), "the events");
        Checking.equal(Checking.each(read, it -> (int) it.getEvent().getRevision()), Checking.range(0, 5), "revisions");
        Checking.equal(Checking.each(read, it -> it.getEvent().getPosition()), positions, "their positions");
        Checking.soon(db.shutdown());
    }

    private static void wrong(KurrentDBClient db, String stream, StreamState expected, StreamState actual) throws Exception {
        WrongExpectedVersionException error = Checking.refused(WrongExpectedVersionException.class,
            () -> Checking.soon(db.appendToStream(stream, Checking.expecting(expected), Checking.event(2))));
        Checking.equal(error.getStreamName(), stream, "the stream");
        // The client tells revision 0 where it was told that no stream was expected.
        StreamState told = expected.equals(NO_STREAM) ? revision(0) : expected;
        Checking.equal(error.getExpectedState(), told, "what was expected");
        Checking.equal(error.getActualState(), actual, "what is there instead");
    }

    static void wrongExpectations(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        for (StreamState expected : asList(EXISTS, revision(0), revision(7))) {
            wrong(db, "never-written", expected, NO_STREAM);
        }
        Checking.soon(db.appendToStream("wrong", Checking.events(0, 2)));
        for (StreamState expected : asList(NO_STREAM, revision(0), revision(2), revision(99))) {
            wrong(db, "wrong", expected, revision(1));
        }
        Checking.equal(Checking.numbers(Checking.read(db, "wrong")), asList(0, 1), "nothing refused is written");
        Checking.soon(db.shutdown());
    }

    private static List<?> told(WriteResult written) {
        return asList(written.getNextExpectedRevision(), written.getLogPosition());
    }

    static void repetitions(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        EventData first = Checking.event(1, Checking.idOf(1));
        EventData[] both = {Checking.event(2, Checking.idOf(2)), Checking.event(3, Checking.idOf(3))};
        WriteResult one = Checking.soon(db.appendToStream("repeated", Checking.expecting(NO_STREAM), first));
        WriteResult two = Checking.soon(db.appendToStream("repeated", Checking.expecting(revision(0)), both));
        for (StreamState expected : asList(NO_STREAM, ANY)) {
            WriteResult again = Checking.soon(db.appendToStream("repeated", Checking.expecting(expected), first));
            Checking.equal(told(again), told(one), "again, expecting " + expected);
        }
        for (StreamState expected : asList(revision(0), ANY, EXISTS)) {
            WriteResult again = Checking.soon(db.appendToStream("repeated", Checking.expecting(expected), both));
            Checking.equal(told(again), told(two), "both again, expecting " + expected);
        }
        Checking.refused(WrongExpectedVersionException.class, () -> Checking.soon(
            db.appendToStream("repeated", Checking.expecting(revision(0)), both[0], Checking.event(9))));
        Checking.equal(Checking.numbers(Checking.read(db, "repeated")), asList(1, 2, 3), "each event once");
        Checking.soon(db.shutdown());
    }

    static void manyEvents(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        WriteResult written =
            Checking.soon(db.appendToStream("many", Checking.expecting(NO_STREAM), Checking.events(0, 3000)));
        Checking.equal(written.getNextExpectedRevision(), revision(2999), "the last revision");
        ReadResult read = Checking.read(db, "many");
        Checking.equal(Checking.numbers(read), Checking.range(0, 3000), "every event in order");
        RecordedEvent last = read.getEvents().get(2999).getEvent();
        Checking.equal(last.getPosition(), written.getLogPosition(), "the position is that of the last event");
        Checking.refused(WrongExpectedVersionException.class, () -> Checking.soon(
            db.appendToStream("many", Checking.expecting(revision(17)), Checking.events(3000, 6000))));
        ReadStreamOptions end = ReadStreamOptions.get().backwards().fromEnd().maxCount(1);
        ReadResult after = Checking.soon(db.readStream("many", end));
        Checking.equal(Checking.numbers(after), asList(2999), "a refused append writes none of its events");
        Checking.soon(db.shutdown());
    }

    static void manyAppends(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        List<CompletableFuture<WriteResult>> appends = new ArrayList<>();
        for (int number : Checking.range(0, 1000)) {
            appends.add(db.appendToStream("crowd-" + number % 10, Checking.event(number)));
        }
        List<Position> positions = new ArrayList<>();
        for (CompletableFuture<WriteResult> append : appends) positions.add(Checking.soon(append).getLogPosition());
        Checking.equal(new HashSet<>(positions).size(), 1000, "positions of their own");
        for (int stream : Checking.range(0, 10)) {
            ReadResult read = Checking.read(db, "crowd-" + stream);
            List<Integer> numbers = Checking.numbers(read);
            List<Integer> expected = Checking.range(0, 100).stream().map(it -> it * 10 + stream).collect(Collectors.toList());
            Checking.equal(numbers.stream().sorted().collect(Collectors.toList()), expected, "crowd-" + stream);
            Checking.equal(Checking.each(read, it -> (int) it.getEvent().getRevision()), Checking.range(0, 100), "revisions");
            List<Position> places = numbers.stream().map(positions::get).collect(Collectors.toList());
            Checking.equal(Checking.each(read, it -> it.getEvent().getPosition()), places, "positions of crowd-" + stream);
        }
        Checking.soon(db.shutdown());
    }

    static void largeEvents(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Random random = new Random(7);
        List<EventData> written = new ArrayList<>();
        for (int size : asList(0, 1 << 20, 5 << 20)) {
            byte[] data = new byte[size];
            random.nextBytes(data);
            byte[] metadata = {1, 0, -1};
            written.add(EventData.builderAsBinary(UUID.randomUUID(), "blob", data).metadataAsBytes(metadata).build());
        }
        for (EventData one : written) Checking.soon(db.appendToStream("large", one));
        Checking.soon(db.appendToStream("large-batch", written.iterator()));
        for (String stream : asList("large", "large-batch")) {
            List<RecordedEvent> read = Checking.each(Checking.read(db, stream), it -> it.getEvent());
            Checking.equal(read.size(), written.size(), "the events of " + stream);
            for (int index = 0; index < read.size(); index += 1) {
                RecordedEvent found = read.get(index);
                EventData expected = written.get(index);
                Checking.truth(Arrays.equals(found.getEventData(), expected.getEventData()), "bytes of " + stream);
                Checking.truth(Arrays.equals(found.getUserMetadata(), expected.getUserMetadata()), "metadata in " + stream);
                Checking.equal(found.getContentType(), "application/octet-stream", "the content type");
                Checking.equal(found.getEventId(), expected.getEventId(), "the id");
            }
        }
        Checking.soon(db.shutdown());
    }
}
