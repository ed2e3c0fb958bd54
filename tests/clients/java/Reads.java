import static java.util.Arrays.asList;

import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.Position;
import io.kurrent.dbclient.ReadAllOptions;
import io.kurrent.dbclient.ReadResult;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.RecordedEvent;
import io.kurrent.dbclient.StreamMetadata;
import io.kurrent.dbclient.StreamNotFoundException;
import io.kurrent.dbclient.SubscribeToAllOptions;
import io.kurrent.dbclient.SubscribeToStreamOptions;
import io.kurrent.dbclient.Subscription;
import io.kurrent.dbclient.SubscriptionFilter;
import io.kurrent.dbclient.SubscriptionFilterBuilder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.UUID;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;

/** Reads: streams and all events in both directions, from places and with counts, links, filters, what is not there. */
final class Reads {
    private Reads() {}

    static void streams(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Checking.soon(db.appendToStream("both-ways", Checking.events(0, 100)));
        List<Integer> forwards = Checking.range(0, 100);
        read(db, forwards, it -> it);
        List<Integer> backwards = new ArrayList<>(forwards);
        Collections.reverse(backwards);
        read(db, backwards, it -> it.backwards().fromEnd());
        read(db, asList(0, 1, 2), it -> it.maxCount(3));
        read(db, asList(99, 98, 97), it -> it.backwards().fromEnd().maxCount(3));
        read(db, asList(50, 51), it -> it.fromRevision(50).maxCount(2));
        read(db, asList(50, 49), it -> it.backwards().fromRevision(50).maxCount(2));
        read(db, asList(), it -> it.fromRevision(100));
        read(db, asList(99), it -> it.backwards().fromRevision(500).maxCount(1));
        ReadResult whole = Checking.read(db, "both-ways");
        Checking.equal(whole.getLastStreamPosition(), 99L, "the last revision");
        RecordedEvent first = whole.getEvents().get(0).getEvent();
        Checking.equal(asList(first.getStreamId(), first.getEventType(), first.getContentType()),
            asList("both-ways", "note.Taken", "application/json"), "an event");
        Checking.truth(first.getCreated().getEpochSecond() > 1_700_000_000L, "a time");
        Checking.soon(db.shutdown());
    }

    private static void read(KurrentDBClient db, List<Integer> expected, UnaryOperator<ReadStreamOptions> how) throws Exception {
        ReadResult read = Checking.soon(db.readStream("both-ways", how.apply(ReadStreamOptions.get())));
        Checking.equal(Checking.each(read, it -> (int) it.getEvent().getRevision()), expected, "a read");
    }

    static void allEvents(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        List<Position> written = new ArrayList<>();
        for (int number : Checking.range(0, 20)) {
            written.add(Checking.soon(db.appendToStream("everything-" + number, Checking.event(number))).getLogPosition());
        }
        all(db, written, it -> it.fromPosition(written.get(0)).maxCount(100));
        all(db, written.subList(5, 8), it -> it.fromPosition(written.get(5)).maxCount(3));
        List<Position> backwards = new ArrayList<>(written);
        Collections.reverse(backwards);
        all(db, backwards, it -> it.backwards().fromEnd().maxCount(20));
        all(db, asList(written.get(4), written.get(3)), it -> it.backwards().fromPosition(written.get(5)).maxCount(2));
        ReadResult whole = Checking.soon(db.readAll(ReadAllOptions.get().fromStart().maxCount(100_000)));
        List<Position> positions = Checking.each(whole, it -> it.getEvent().getPosition());
        Checking.equal(positions.stream().sorted().distinct().collect(Collectors.toList()), positions, "positions rise");
        Checking.equal(positions.subList(positions.size() - 20, positions.size()), written, "the last twenty");
        Collections.reverse(positions);
        all(db, positions, it -> it.backwards().fromEnd().maxCount(100_000));
        Checking.soon(db.shutdown());
    }

    private static void all(KurrentDBClient db, List<Position> expected, UnaryOperator<ReadAllOptions> how) throws Exception {
        ReadResult read = Checking.soon(db.readAll(how.apply(ReadAllOptions.get())));
        Checking.equal(Checking.each(read, it -> it.getEvent().getPosition()), expected, "a read of $all");
    }

    private static EventData link(String to) {
        byte[] data = to.getBytes(StandardCharsets.UTF_8);
        return EventData.builderAsBinary(UUID.randomUUID(), "$>", data).build();
    }

    static void links(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Checking.soon(db.appendToStream("linked", Checking.events(10, 13)));
        Position start =
            Checking.soon(db.appendToStream("links", link("2@linked"), link("0@linked"))).getLogPosition();
        Checking.equal(Checking.each(Checking.read(db, "links"), it -> it.getEvent().getEventType()), asList("$>", "$>"), "links");
        ReadResult read = Checking.soon(db.readStream("links", ReadStreamOptions.get().resolveLinkTos()));
        Checking.equal(Checking.numbers(read), asList(12, 10), "what the links name");
        Checking.equal(Checking.each(read, it -> it.getEvent().getStreamId()), asList("linked", "linked"), "their stream");
        Checking.equal(Checking.each(read, it -> it.getLink().getRevision()), asList(0L, 1L), "the links themselves");
        ReadStreamOptions back = ReadStreamOptions.get().resolveLinkTos().backwards().fromEnd();
        Checking.equal(Checking.numbers(Checking.soon(db.readStream("links", back))), asList(10, 12), "backwards");
        ReadAllOptions all = ReadAllOptions.get().fromPosition(start).resolveLinkTos();
        Checking.equal(Checking.numbers(Checking.soon(db.readAll(all))), asList(10), "the last link in $all");
        Follower follower = new Follower();
        Subscription subscription =
            Checking.soon(db.subscribeToStream("links", follower, SubscribeToStreamOptions.get().resolveLinkTos()));
        Checking.equal(Checking.number(follower.event()), 12, "a subscription's link");
        subscription.stop();
        Checking.soon(db.shutdown());
    }

    /** The client reads all events without a filter only, so it is subscriptions that filter. */
    static void filters(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Position start = Checking.soon(db.appendToStream("apple-0", Checking.event(0, "start"))).getLogPosition();
        Checking.soon(db.appendToStream("apple-1", Checking.event(1, "fruit.Ripe")));
        Checking.soon(db.appendToStream("apple-2", Checking.event(2, "fruit.Rotten")));
        Checking.soon(db.appendToStream("pear-1", Checking.event(3, "fruit.Ripe")));
        Checking.soon(db.appendToStream("pear-1", Checking.event(4, "tree.Felled")));
        Checking.soon(db.setStreamMetadata("pear-1", new StreamMetadata()));
        filtered(db, start, null, "1", "2", "3", "4", "$metadata");
        filtered(db, start, by().withEventTypeRegularExpression("^[^\\$].*"), "1", "2", "3", "4");
        filtered(db, start, by().withEventTypeRegularExpression("^(?!fruit\\.)"), "4", "$metadata");
        filtered(db, start, by().withEventTypeRegularExpression("^fruit.Ripe$"), "1", "3");
        // This client's filter takes one prefix, and sends it as an expression.
        filtered(db, start, by().addEventTypePrefix("fruit.R"), "1", "2", "3");
        filtered(db, start, by().withStreamNameRegularExpression("^(apple-\\d|\\$\\$pear-1)$"), "1", "2", "$metadata");
        filtered(db, start, by().addStreamNamePrefix("apple-"), "1", "2");
        filtered(db, start, by().withStreamNameRegularExpression("^(?!apple-|\\$)"), "3", "4");
        Checking.soon(db.shutdown());
    }

    private static SubscriptionFilterBuilder by() {
        return SubscriptionFilter.newBuilder();
    }

    private static void filtered(KurrentDBClient db, Position start, SubscriptionFilterBuilder filter, String... expected)
        throws Exception {
        SubscribeToAllOptions options = SubscribeToAllOptions.get().fromPosition(start);
        if (filter != null) options = options.filter(filter.build());
        Follower follower = new Follower();
        Subscription subscription = Checking.soon(db.subscribeToAll(follower, options));
        List<String> found = follower.past().stream()
            .map(it -> it.getEvent().getEventType().startsWith("$")
                ? it.getEvent().getEventType() : String.valueOf(Checking.number(it)))
            .collect(Collectors.toList());
        Checking.equal(found, asList(expected), "what the filter lets through");
        subscription.stop();
    }

    static void missingStreams(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        StreamNotFoundException error =
            Checking.refused(StreamNotFoundException.class, () -> Checking.read(db, "nowhere"));
        Checking.equal(error.getStreamName(), "nowhere", "the stream");
        ReadStreamOptions back = ReadStreamOptions.get().backwards().fromEnd();
        Checking.refused(StreamNotFoundException.class, () -> Checking.soon(db.readStream("nowhere", back)));
        Checking.equal(Checking.soon(db.getStreamMetadata("nowhere")), new StreamMetadata(), "no metadata");
        Checking.soon(db.shutdown());
    }
}
