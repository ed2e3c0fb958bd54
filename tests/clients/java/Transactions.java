import static java.util.Arrays.asList;

import io.kurrent.dbclient.AppendStreamRequest;
import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.MultiStreamAppendResponse;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.StreamTombstonedException;
import io.kurrent.dbclient.WrongExpectedVersionException;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Appends over several streams, which are written together or not at all. */
final class Transactions {
    private Transactions() {}

    private static AppendStreamRequest part(String stream, StreamState expected, int... numbers) {
        List<EventData> events = IntStream.of(numbers)
            .mapToObj(it -> Checking.event(it, Checking.idOf(2000 + it))).collect(Collectors.toList());
        return new AppendStreamRequest(stream, events.iterator(), expected);
    }

    private static MultiStreamAppendResponse append(KurrentDBClient db, AppendStreamRequest... parts) throws Exception {
        return Checking.soon(db.multiStreamAppend(asList(parts).iterator()));
    }

    private static List<String> revisions(MultiStreamAppendResponse written) {
        return written.getResults().stream().map(it -> it.getStream() + "/" + it.getStreamRevision()).collect(Collectors.toList());
    }

    static void severalStreams(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        StreamState any = StreamState.any();
        StreamState none = StreamState.noStream();
        MultiStreamAppendResponse first = append(db, part("both-1", none, 1, 2), part("both-2", any, 3));
        Checking.equal(revisions(first), asList("both-1/1", "both-2/0"), "revisions");
        long last = Checking.read(db, "both-2").getEvents().get(0).getEvent().getPosition().getCommitUnsigned();
        Checking.equal(last, first.getPosition(), "the position is that of the last event");
        MultiStreamAppendResponse again = append(db, part("both-1", none, 1, 2), part("both-2", any, 3));
        Checking.equal(again.getPosition(), first.getPosition(), "a repetition");
        append(db, part("both-1", StreamState.streamRevision(1), 4), part("both-2", StreamState.streamExists(), 5));
        StreamState two = StreamState.streamRevision(2);
        StreamState seven = StreamState.streamRevision(7);
        WrongExpectedVersionException wrong = Checking.refused(WrongExpectedVersionException.class,
            () -> append(db, part("both-1", two, 6), part("both-2", seven, 7)));
        Checking.equal(asList(wrong.getStreamName(), wrong.getExpectedState(), wrong.getActualState()),
            asList("both-2", seven, StreamState.streamRevision(1)), "what it says");
        Checking.soon(db.appendToStream("both-3", Checking.event(1)));
        Checking.soon(db.tombstoneStream("both-3"));
        StreamTombstonedException buried = Checking.refused(StreamTombstonedException.class,
            () -> append(db, part("both-1", any, 6), part("both-3", any, 7)));
        Checking.equal(buried.getStreamName(), "both-3", "the stream");
        Checking.equal(Checking.numbers(Checking.read(db, "both-1")), asList(1, 2, 4), "nothing refused is written");
        Checking.equal(Checking.numbers(Checking.read(db, "both-2")), asList(3, 5), "nothing of it in the other stream");
        Checking.soon(db.shutdown());
    }
}
