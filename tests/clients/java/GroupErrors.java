import static java.util.Arrays.asList;

import io.kurrent.dbclient.CreatePersistentSubscriptionToAllOptions;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBPersistentSubscriptionsClient;
import io.kurrent.dbclient.UpdatePersistentSubscriptionToStreamOptions;
import java.util.Optional;
import java.util.concurrent.Callable;

/**
 * The errors of persistent subscriptions: what exists, what does not, too many consumers, consumers that are dropped. The
 * client hands on the status of most of them, with the name of the error in its trailers.
 */
final class GroupErrors {
    private static final String MISSING = "persistent-subscription-does-not-exist";

    private GroupErrors() {}

    /** The consumer must end with an error of this name. */
    static void ends(Consumer consumer, String exception) throws Exception {
        Checking.named(exception, "group-name", () -> Checking.soon(consumer.ended));
    }

    private static void named(String exception, Callable<?> call) throws Exception {
        Checking.named(exception, "group-name", call);
    }

    static void told(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        KurrentDBPersistentSubscriptionsClient groups = KurrentDBPersistentSubscriptionsClient.from(db);
        CreatePersistentSubscriptionToAllOptions all = CreatePersistentSubscriptionToAllOptions.get().fromEnd();
        Checking.soon(db.appendToStream("guarded", Checking.events(0, 3)));
        Checking.soon(groups.createToStream("guarded", "group", Groups.settings().maxSubscriberCount(1)));
        Checking.soon(groups.createToAll("group", all));
        named("persistent-subscription-exists", () -> Checking.soon(groups.createToStream("guarded", "group")));
        named("persistent-subscription-exists", () -> Checking.soon(groups.createToAll("group", all)));
        named("persistent-subscription-failed", () -> Checking.soon(
            groups.createToStream("guarded", "odd", Groups.settings().readBatchSize(600).historyBufferSize(500))));

        Checking.equal(Checking.soon(groups.getInfoToStream("guarded", "no-group")), Optional.empty(), "no such group");
        Checking.equal(Checking.soon(groups.getInfoToAll("no-group")), Optional.empty(), "no such group of all");
        named(MISSING, () -> Checking.soon(groups.updateToStream("guarded", "no-group")));
        named(MISSING, () -> Checking.soon(groups.updateToAll("no-group")));
        named(MISSING, () -> Checking.soon(groups.replayParkedMessagesToStream("guarded", "no-group")));
        named(MISSING, () -> Checking.soon(groups.replayParkedMessagesToAll("no-group")));
        named(MISSING, () -> Checking.soon(groups.deleteToStream("guarded", "no-group")));
        named(MISSING, () -> Checking.soon(groups.deleteToAll("no-group")));
        named(MISSING, () -> Checking.soon(groups.subscribeToStream("guarded", "no-group", new Consumer())));
        named(MISSING, () -> Checking.soon(groups.subscribeToAll("no-group", new Consumer())));
        named(MISSING, () -> Checking.soon(groups.listToStream("no-groups-here")));

        Consumer one = new Consumer();
        Checking.soon(groups.subscribeToStream("guarded", "group", one));
        for (int expected : asList(0, 1, 2)) Checking.equal(Checking.number(one.next().event), expected, "its event");
        named("maximum-subscribers-reached",
            () -> Checking.soon(groups.subscribeToStream("guarded", "group", new Consumer())));
        Checking.soon(groups.updateToStream("guarded", "group",
            UpdatePersistentSubscriptionToStreamOptions.get().fromStart().maxRetryCount(5)));
        ends(one, "persistent-subscription-dropped");

        Consumer everything = new Consumer();
        Checking.soon(groups.subscribeToAll("group", everything));
        Checking.soon(groups.deleteToAll("group"));
        ends(everything, MISSING);
        Checking.soon(groups.deleteToStream("guarded", "group"));
        Checking.soon(db.shutdown());
    }
}
