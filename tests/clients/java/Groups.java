import static java.util.Arrays.asList;

import io.kurrent.dbclient.CreatePersistentSubscriptionToAllOptions;
import io.kurrent.dbclient.CreatePersistentSubscriptionToStreamOptions;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBPersistentSubscriptionsClient;
import io.kurrent.dbclient.NackAction;
import io.kurrent.dbclient.NamedConsumerStrategy;
import io.kurrent.dbclient.PersistentSubscription;
import io.kurrent.dbclient.PersistentSubscriptionInfo;
import io.kurrent.dbclient.PersistentSubscriptionToStreamInfo;
import io.kurrent.dbclient.PersistentSubscriptionToStreamSettings;
import io.kurrent.dbclient.Position;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.StreamPosition;
import io.kurrent.dbclient.SubscribePersistentSubscriptionOptions;
import io.kurrent.dbclient.SubscriptionFilter;
import io.kurrent.dbclient.UpdatePersistentSubscriptionToAllOptions;
import io.kurrent.dbclient.UpdatePersistentSubscriptionToStreamOptions;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/** Persistent subscriptions: consumers that share a group, retries, parked events, groups of $all, what is told of them. */
final class Groups {
    private Groups() {}

    static CreatePersistentSubscriptionToStreamOptions settings() {
        return CreatePersistentSubscriptionToStreamOptions.get().fromStart();
    }

    private static PersistentSubscriptionToStreamInfo info(
        KurrentDBPersistentSubscriptionsClient groups, String stream, String group) throws Exception {
        return Checking.soon(groups.getInfoToStream(stream, group)).orElseThrow(() -> new AssertionError("no such group"));
    }

    /** Three consumers, one of which leaves with events in hand: each event is acknowledged, by more than one of them. */
    static void shared(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        KurrentDBPersistentSubscriptionsClient groups = KurrentDBPersistentSubscriptionsClient.from(db);
        Checking.soon(groups.createToStream("work", "team",
            settings().namedConsumerStrategy(NamedConsumerStrategy.ROUND_ROBIN).messageTimeoutInMs(60_000)));
        SubscribePersistentSubscriptionOptions few = SubscribePersistentSubscriptionOptions.get().bufferSize(10);
        List<Consumer> consumers = asList(new Consumer(), new Consumer(), new Consumer());
        List<PersistentSubscription> subscriptions = new ArrayList<>();
        for (Consumer consumer : consumers) subscriptions.add(Checking.soon(groups.subscribeToStream("work", "team", few, consumer)));
        // All are there before the first event, so each gets its share.
        Checking.soon(db.appendToStream("work", Checking.events(0, 200)));
        Set<Integer> done = new HashSet<>();
        List<Integer> byStayers = new ArrayList<>();
        for (int mine = 0; mine < 5; mine += 1) {
            Consumer.Sent sent = consumers.get(2).next();
            sent.by.ack(sent.event);
            done.add(Checking.number(sent.event));
        }
        // What else was sent to this one is not acknowledged.
        consumers.get(2).next();
        subscriptions.get(2).stop();
        for (int first = 200; first < 400; first += 20) Checking.soon(db.appendToStream("work", Checking.events(first, first + 20)));
        int[] counts = {0, 0};
        long end = System.nanoTime() + 60_000_000_000L;
        while (done.size() < 400) {
            Checking.truth(System.nanoTime() < end, "only " + done.size() + " events within a minute");
            for (int stayer : asList(0, 1)) {
                Consumer.Sent sent = consumers.get(stayer).soon(1);
                if (sent == null) continue;
                sent.by.ack(sent.event);
                byStayers.add(Checking.number(sent.event));
                done.add(Checking.number(sent.event));
                counts[stayer] += 1;
            }
        }
        Checking.truth(counts[0] > 0 && counts[1] > 0, "both who stay got events");
        Checking.equal(new HashSet<>(byStayers).size(), byStayers.size(), "no event is acknowledged twice by those who stay");

        Checking.within("two connections and nothing in flight", () -> {
            PersistentSubscriptionToStreamInfo it = info(groups, "work", "team");
            return it.getConnections().size() == 2 && it.getStats().getTotalInFlightMessages() == 0;
        });
        PersistentSubscriptionToStreamInfo told = info(groups, "work", "team");
        Checking.equal(asList(told.getEventSource(), told.getGroupName()), asList("work", "team"), "whose information it is");
        Checking.equal(told.getSettings().getNamedConsumerStrategy().toString(), "RoundRobin", "the strategy");
        Checking.equal(told.getStats().getLastKnownEventRevision().get(), 399L, "the last event that it knows");
        Checking.soon(groups.deleteToStream("work", "team"));
        for (int stayer : asList(0, 1)) GroupErrors.ends(consumers.get(stayer), "persistent-subscription-does-not-exist");
        Checking.soon(db.shutdown());
    }

    static void retriedAndParked(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        KurrentDBPersistentSubscriptionsClient groups = KurrentDBPersistentSubscriptionsClient.from(db);
        Checking.soon(db.appendToStream("hard", Checking.events(0, 6)));
        Checking.soon(groups.createToStream("hard", "hard-ones", settings().maxRetryCount(2).messageTimeoutInMs(60_000)));
        Consumer consumer = new Consumer();
        PersistentSubscription first = Checking.soon(groups.subscribeToStream("hard", "hard-ones", consumer));
        List<String> seen = new ArrayList<>();
        while (seen.size() < 9) {
            Consumer.Sent sent = consumer.next();
            int what = Checking.number(sent.event);
            seen.add(what + "/" + sent.retries);
            if (what == 1 && sent.retries == 0) sent.by.nack(NackAction.Retry, "again", sent.event);
            else if (what == 2 || what == 4) sent.by.nack(NackAction.Park, "later", sent.event);
            else if (what == 3) sent.by.nack(NackAction.Skip, "never", sent.event);
            // Once more than it may be retried: it is parked.
            else if (what == 5) sent.by.nack(NackAction.Retry, "again", sent.event);
            else sent.by.ack(sent.event);
        }
        Checking.equal(sorted(seen), asList("0/0", "1/0", "1/1", "2/0", "3/0", "4/0", "5/0", "5/1", "5/2"), "what was sent");
        Checking.within("three parked events", () -> info(groups, "hard", "hard-ones").getStats().getParkedMessageCount() == 3);
        first.stop();
        ReadStreamOptions resolved = ReadStreamOptions.get().resolveLinkTos();
        List<Integer> parked = Checking.numbers(
            Checking.soon(db.readStream("$persistentsubscription-hard::hard-ones-parked", resolved)));
        Checking.equal(sorted(parked), asList(2, 4, 5), "what is parked");

        Checking.soon(groups.replayParkedMessagesToStream("hard", "hard-ones"));
        Consumer other = new Consumer();
        PersistentSubscription second = Checking.soon(groups.subscribeToStream("hard", "hard-ones", other));
        List<String> again = new ArrayList<>();
        while (again.size() < 3) {
            Consumer.Sent sent = other.next();
            again.add(Checking.number(sent.event) + "/" + sent.retries);
            sent.by.ack(sent.event);
        }
        Checking.equal(sorted(again), asList("2/0", "4/0", "5/0"), "what was replayed");
        Checking.within("no parked event", () -> info(groups, "hard", "hard-ones").getStats().getParkedMessageCount() == 0);
        second.stop();
        Checking.soon(groups.deleteToStream("hard", "hard-ones"));
        Checking.soon(db.shutdown());
    }

    private static <T> List<T> sorted(List<T> list) {
        return list.stream().sorted().collect(Collectors.toList());
    }

    static void allEvents(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        KurrentDBPersistentSubscriptionsClient groups = KurrentDBPersistentSubscriptionsClient.from(db);
        Position start = Checking.soon(db.appendToStream("wide-1", Checking.event(0, "wide.Wanted"))).getLogPosition();
        Checking.soon(db.appendToStream("wide-2", Checking.event(1, "wide.Other")));
        Checking.soon(db.appendToStream("wide-2", Checking.event(2, "wide.Wanted"), Checking.event(3, "wide.Wanted")));
        SubscriptionFilter filter = SubscriptionFilter.newBuilder().withEventTypeRegularExpression("^wide.Wanted$").build();
        Checking.soon(groups.createToAll("wide", CreatePersistentSubscriptionToAllOptions.get().filter(filter)
            .startFrom(start).checkpointAfterInMs(100).checkpointLowerBound(1)));
        Consumer one = new Consumer();
        PersistentSubscription subscription = Checking.soon(groups.subscribeToAll("wide", one));
        Checking.equal(subscription.getSubscriptionId(), "$all::wide", "its id");
        for (int expected : asList(0, 2, 3)) take(one, expected);
        Checking.soon(db.appendToStream("wide-3", Checking.event(4, "wide.Wanted")));
        take(one, 4);
        Checking.within("nothing in flight", () ->
            Checking.soon(groups.getInfoToAll("wide")).get().getStats().getTotalInFlightMessages() == 0);
        subscription.stop();
        // Another consumer goes on behind what was acknowledged.
        Checking.soon(db.appendToStream("wide-3", Checking.event(5, "wide.Wanted")));
        Consumer two = new Consumer();
        PersistentSubscription second = Checking.soon(groups.subscribeToAll("wide", two));
        take(two, 5);
        second.stop();
        StreamPosition<Position> from = Checking.soon(groups.getInfoToAll("wide")).get().getSettings().getStartFrom();
        Checking.equal(from.getPositionOrThrow(), start, "where it was told to start");
        Checking.soon(groups.deleteToAll("wide"));
        Checking.soon(db.shutdown());
    }

    private static void take(Consumer consumer, int expected) throws Exception {
        Consumer.Sent sent = consumer.next();
        sent.by.ack(sent.event);
        Checking.equal(Checking.number(sent.event), expected, "the next event");
    }

    private static List<String> named(List<? extends PersistentSubscriptionInfo> infos) {
        return sorted(infos.stream().map(it -> it.getEventSource() + "/" + it.getGroupName()).collect(Collectors.toList()));
    }

    static void listedAndChanged(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        KurrentDBPersistentSubscriptionsClient groups = KurrentDBPersistentSubscriptionsClient.from(db);
        Checking.equal(named(Checking.soon(groups.listAll())), asList(), "no group yet");
        Checking.soon(db.appendToStream("listed", Checking.events(0, 3)));
        Checking.soon(groups.createToStream("listed", "first", settings().fromEnd().messageTimeoutInMs(20_000).maxRetryCount(3)));
        Checking.soon(groups.createToStream("listed", "second",
            settings().startFrom(1).namedConsumerStrategy(NamedConsumerStrategy.PINNED)));
        Checking.soon(groups.createToAll("third", CreatePersistentSubscriptionToAllOptions.get().fromEnd()));
        List<String> all = asList("$all/third", "listed/first", "listed/second");
        Checking.equal(named(Checking.soon(groups.listAll())), all, "all");
        Checking.equal(named(Checking.soon(groups.listToStream("listed"))), all.subList(1, 3), "a stream's");
        Checking.equal(named(Checking.soon(groups.listToAll())), all.subList(0, 1), "those of all");
        PersistentSubscriptionToStreamSettings created = info(groups, "listed", "first").getSettings();
        Checking.truth(created.getStartFrom().isEnd(), "from the end");
        Checking.equal(asList(created.getMessageTimeoutMs(), created.getMaxRetryCount()), asList(20_000, 3), "as created");
        NamedConsumerStrategy strategy = info(groups, "listed", "second").getSettings().getNamedConsumerStrategy();
        Checking.equal(strategy.toString(), "Pinned", "the strategy");

        Checking.soon(groups.updateToStream("listed", "first",
            UpdatePersistentSubscriptionToStreamOptions.get().startFrom(2).maxRetryCount(7)));
        PersistentSubscriptionToStreamSettings changed = info(groups, "listed", "first").getSettings();
        Checking.equal(changed.getStartFrom().getPositionOrThrow(), 2L, "another place to start");
        Checking.equal(changed.getMaxRetryCount(), 7, "as it was changed");
        Consumer consumer = new Consumer();
        PersistentSubscription subscription = Checking.soon(groups.subscribeToStream("listed", "first", consumer));
        take(consumer, 2);
        subscription.stop();
        Checking.soon(groups.updateToAll("third", UpdatePersistentSubscriptionToAllOptions.get().maxSubscriberCount(9)));
        Checking.equal(Checking.soon(groups.getInfoToAll("third")).get().getSettings().getMaxSubscriberCount(), 9, "as changed");
        for (String group : asList("first", "second")) Checking.soon(groups.deleteToStream("listed", group));
        Checking.soon(groups.deleteToAll("third"));
        Checking.equal(named(Checking.soon(groups.listAll())), asList(), "no group any more");
        Checking.soon(db.shutdown());
    }
}
