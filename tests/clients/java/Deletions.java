import static java.util.Arrays.asList;

import io.kurrent.dbclient.DeleteStreamOptions;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.Position;
import io.kurrent.dbclient.ReadAllOptions;
import io.kurrent.dbclient.ReadResult;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.StreamDeletedException;
import io.kurrent.dbclient.StreamMetadata;
import io.kurrent.dbclient.StreamNotFoundException;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.WrongExpectedVersionException;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;

/** Deletions and tombstones, told apart by their exceptions, and the metadata that hides events. */
final class Deletions {
    private Deletions() {}

    private static DeleteStreamOptions at(StreamState state) {
        return DeleteStreamOptions.get().streamState(state);
    }

    static void deletedAndTombstoned(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        StreamState first = StreamState.streamRevision(0);
        StreamState last = StreamState.streamRevision(2);
        Checking.soon(db.appendToStream("gone", Checking.events(0, 3)));
        WrongExpectedVersionException wrong = Checking.refused(WrongExpectedVersionException.class,
            () -> Checking.soon(db.deleteStream("gone", at(first))));
        Checking.equal(asList(wrong.getStreamName(), wrong.getExpectedState(), wrong.getActualState()),
            asList("gone", first, last), "what it says");
        Checking.soon(db.deleteStream("gone", at(last)));
        Checking.refused(StreamNotFoundException.class, () -> Checking.read(db, "gone"));
        StreamDeletedException deleted = Checking.refused(StreamDeletedException.class, () -> Checking.soon(
            db.appendToStream("gone", Checking.expecting(StreamState.streamExists()), Checking.event(3))));
        Checking.equal(deleted.getStreamName(), "gone", "the stream");
        Checking.soon(db.appendToStream("gone", Checking.expecting(StreamState.noStream()), Checking.event(3)));
        ReadResult read = Checking.read(db, "gone");
        Checking.equal(Checking.numbers(read), asList(3), "a revived stream");
        Checking.equal(Checking.each(read, it -> it.getEvent().getRevision()), asList(3L), "it goes on");

        Checking.soon(db.appendToStream("buried", Checking.events(0, 3)));
        Checking.refused(WrongExpectedVersionException.class, () -> Checking.soon(db.tombstoneStream("buried", at(first))));
        Checking.soon(db.tombstoneStream("buried", at(last)));
        // The client hands on the status of a read that is refused.
        deletedForReads(() -> Checking.read(db, "buried"));
        ReadStreamOptions back = ReadStreamOptions.get().backwards().fromEnd();
        deletedForReads(() -> Checking.soon(db.readStream("buried", back)));
        deletedForReads(() -> Checking.soon(db.subscribeToStream("buried", new Follower())));
        deletedForReads(() -> Checking.soon(db.getStreamMetadata("buried")));
        deleted = Checking.refused(StreamDeletedException.class,
            () -> Checking.soon(db.appendToStream("buried", Checking.event(3))));
        Checking.equal(deleted.getStreamName(), "buried", "the stream");
        Checking.refused(StreamDeletedException.class, () -> Checking.soon(db.deleteStream("buried")));
        Checking.refused(StreamDeletedException.class, () -> Checking.soon(db.tombstoneStream("buried")));
        Checking.soon(db.tombstoneStream("never-there"));
        deletedForReads(() -> Checking.read(db, "never-there"));
        Checking.soon(db.shutdown());
    }

    private static void deletedForReads(Callable<?> call) throws Exception {
        Checking.named("stream-deleted", "stream-name", call);
    }

    static void metadata(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Position position = Checking.soon(db.appendToStream("hidden", Checking.event(0))).getLogPosition();
        Checking.soon(db.appendToStream("hidden", Checking.events(1, 10)));
        StreamMetadata three = new StreamMetadata();
        three.setMaxCount(3L);
        three.setCustomProperties(Collections.singletonMap("owner", "me"));
        Checking.soon(db.setStreamMetadata("hidden", Checking.expecting(StreamState.noStream()), three));
        StreamMetadata found = Checking.soon(db.getStreamMetadata("hidden"));
        Checking.equal(found.getMaxCount(), 3L, "the metadata");
        Checking.equal(found.getCustomProperties().get("owner"), "me", "its own property");
        Checking.equal(Checking.numbers(Checking.read(db, "hidden")), asList(7, 8, 9), "three are left");
        ReadResult back = Checking.soon(db.readStream("hidden", ReadStreamOptions.get().backwards().fromEnd()));
        Checking.equal(Checking.numbers(back), asList(9, 8, 7), "three backwards");
        StreamState other = StreamState.streamRevision(5);
        Checking.refused(WrongExpectedVersionException.class,
            () -> Checking.soon(db.setStreamMetadata("hidden", Checking.expecting(other), three)));
        truncateBefore(db, 4, Checking.range(4, 10));
        truncateBefore(db, 10, asList());
        ReadResult all = Checking.soon(db.readAll(ReadAllOptions.get().fromPosition(position).maxCount(1000)));
        List<Integer> mine = all.getEvents().stream()
            .filter(it -> it.getEvent().getStreamId().equals("hidden")).map(Checking::number).collect(Collectors.toList());
        Checking.equal(mine, Checking.range(0, 10), "all of them stay in $all");
        Checking.soon(db.setStreamMetadata("hidden", new StreamMetadata()));
        Checking.equal(Checking.numbers(Checking.read(db, "hidden")), Checking.range(0, 10), "they come back");
        Checking.soon(db.shutdown());
    }

    private static void truncateBefore(KurrentDBClient db, long revision, List<Integer> left) throws Exception {
        StreamMetadata metadata = new StreamMetadata();
        metadata.setTruncateBefore(revision);
        Checking.soon(db.setStreamMetadata("hidden", metadata));
        Checking.equal(Checking.numbers(Checking.read(db, "hidden")), left, "what is left from " + revision);
    }
}
