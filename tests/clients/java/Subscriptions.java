import static java.util.Arrays.asList;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.kurrent.dbclient.AppendToStreamOptions;
import io.kurrent.dbclient.Checkpointer;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.Position;
import io.kurrent.dbclient.ResolvedEvent;
import io.kurrent.dbclient.StreamNotFoundException;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.SubscribeToAllOptions;
import io.kurrent.dbclient.SubscribeToStreamOptions;
import io.kurrent.dbclient.Subscription;
import io.kurrent.dbclient.SubscriptionFilter;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;

/** Subscriptions: the switch from the past to the present under load, checkpoints, the word that it has caught up, ends. */
final class Subscriptions {
    private static final int EVENTS = 10_000;

    private Subscriptions() {}

    /** Two subscriptions begin amid the appends of another client: no gap, no double, the order held. */
    static void liveUnderLoad(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        KurrentDBClient writer = Checking.client(address);
        int half = EVENTS / 2;
        Checking.soon(writer.appendToStream("load", Checking.events(0, half)));
        CompletableFuture<Void> appended = CompletableFuture.runAsync(() -> {
            for (int first = half; first < EVENTS; first += 10) {
                try {
                    AppendToStreamOptions next = AppendToStreamOptions.get().streamRevision(first - 1);
                    Checking.soon(writer.appendToStream("load", next, Checking.events(first, first + 10)));
                } catch (Exception error) {
                    throw new IllegalStateException(error);
                }
            }
        });
        SubscriptionFilter filter = SubscriptionFilter.newBuilder().withStreamNameRegularExpression("^load$").build();
        Follower stream = new Follower();
        Follower all = new Follower();
        Subscription one = Checking.soon(db.subscribeToStream("load", stream));
        Subscription two = Checking.soon(db.subscribeToAll(all, SubscribeToAllOptions.get().filter(filter)));
        for (Follower follower : asList(stream, all)) {
            long place = -1;
            for (int expected = 0; expected < EVENTS; expected += 1) {
                ResolvedEvent event = follower.event();
                Checking.equal(Checking.number(event), expected, "the next event");
                Checking.equal(event.getEvent().getRevision(), (long) expected, "its revision");
                long commit = event.getEvent().getPosition().getCommitUnsigned();
                Checking.truth(commit > place, "positions rise");
                place = commit;
            }
        }
        Checking.soon(appended);
        one.stop();
        two.stop();
        Checking.soon(writer.shutdown());
        Checking.soon(db.shutdown());
    }

    private static SubscriptionFilter wanted(Checkpointer checkpointer) {
        return SubscriptionFilter.newBuilder().withEventTypeRegularExpression("^mark.Wanted$").withMaxWindow(10)
            .withCheckpointer(checkpointer, 1).build();
    }

    static void checkpoints(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Position start = Checking.soon(db.appendToStream("marked", Checking.event(0, "mark.Wanted"))).getLogPosition();
        for (int batch = 0; batch < 10; batch += 1) {
            Checking.soon(db.appendToStream("marked", Checking.range(0, 100).stream()
                .map(it -> Checking.event(it, "mark.Other")).collect(Collectors.toList()).iterator()));
        }
        Checking.soon(db.appendToStream("marked", Checking.event(1, "mark.Wanted")));
        List<Position> marks = Collections.synchronizedList(new ArrayList<>());
        Follower follower = new Follower();
        SubscribeToAllOptions from = SubscribeToAllOptions.get().fromPosition(start).filter(wanted((subscription, mark) -> {
            marks.add(mark);
            return CompletableFuture.completedFuture(null);
        }));
        Subscription subscription = Checking.soon(db.subscribeToAll(follower, from));
        Checking.equal(Checking.number(follower.event()), 1, "behind the first");
        long behind = start.getCommitUnsigned() + 1000;
        Checking.within("a checkpoint behind all",
            () -> !marks.isEmpty() && marks.get(marks.size() - 1).getCommitUnsigned() > behind);
        subscription.stop();
        List<Position> risen = new ArrayList<>(marks);
        Checking.equal(risen.stream().sorted().distinct().collect(Collectors.toList()), risen, "checkpoints rise");
        Checking.soon(db.appendToStream("marked", Checking.event(0, "mark.Other")));
        Checking.soon(db.appendToStream("marked", Checking.event(2, "mark.Wanted")));
        Follower again = new Follower();
        SubscribeToAllOptions on = SubscribeToAllOptions.get().fromPosition(risen.get(risen.size() - 1))
            .filter(wanted((ignored, mark) -> CompletableFuture.completedFuture(null)));
        Subscription second = Checking.soon(db.subscribeToAll(again, on));
        Checking.equal(Checking.number(again.event()), 2, "what came behind the last checkpoint");
        second.stop();
        Checking.soon(db.shutdown());
    }

    static void caughtUp(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Position position = Checking.soon(db.appendToStream("caught-up", Checking.events(0, 5))).getLogPosition();
        Follower stream = new Follower();
        Subscription one = Checking.soon(db.subscribeToStream("caught-up", stream));
        for (int expected = 0; expected < 5; expected += 1) {
            Checking.equal(Checking.number((ResolvedEvent) stream.next()), expected, "an event of the past");
        }
        Checking.equal(((Follower.CaughtUp) stream.next()).revision, 4L, "how far it has come");
        Checking.soon(db.appendToStream("caught-up", Checking.event(5)));
        Checking.equal(Checking.number((ResolvedEvent) stream.next()), 5, "an event of the present");
        one.stop();

        Follower all = new Follower();
        Subscription two = Checking.soon(db.subscribeToAll(all, SubscribeToAllOptions.get().fromPosition(position)));
        Checking.equal(Checking.number((ResolvedEvent) all.next()), 5, "$all");
        Position told = ((Follower.CaughtUp) all.next()).position;
        Checking.truth(told.compareTo(position) > 0, "$all says its position");
        two.stop();

        Follower later = new Follower();
        Subscription three = Checking.soon(db.subscribeToStream("not-yet", later));
        Checking.equal(((Follower.CaughtUp) later.next()).revision, null, "a stream that is not there yet");
        Checking.soon(db.appendToStream("not-yet", Checking.event(7)));
        Checking.equal(Checking.number((ResolvedEvent) later.next()), 7, "its first event");
        three.stop();

        Follower end = new Follower();
        Subscription four = Checking.soon(db.subscribeToStream("caught-up", end, SubscribeToStreamOptions.get().fromEnd()));
        Checking.truth(end.next() instanceof Follower.CaughtUp, "from the end");
        Checking.soon(db.appendToStream("caught-up", Checking.event(6)));
        Checking.equal(Checking.number((ResolvedEvent) end.next()), 6, "only what comes later");
        four.stop();
        Checking.soon(db.shutdown());
    }

    static void cancelledAndLate(String address) throws Exception {
        KurrentDBClient db = Checking.client(address);
        Follower cancelled = new Follower();
        Follower other = new Follower();
        Subscription subscription = Checking.soon(db.subscribeToStream("cancelled", cancelled));
        Subscription lasting = Checking.soon(db.subscribeToStream("cancelled", other));
        Checking.equal(asList(cancelled.past(), other.past()), asList(asList(), asList()), "nothing is there");
        subscription.stop();
        Thread.sleep(200);
        Checking.soon(db.appendToStream("cancelled", Checking.event(1)));
        Checking.equal(Checking.number(other.event()), 1, "the other one goes on");
        Checking.equal(cancelled.silence(200), null, "nothing comes behind the end");
        lasting.stop();

        AppendToStreamOptions passed = AppendToStreamOptions.get().deadline(-1000);
        StatusRuntimeException late = Checking.refused(StatusRuntimeException.class,
            () -> Checking.soon(db.appendToStream("silent", passed, Checking.event(1))));
        Checking.equal(late.getStatus().getCode(), Status.Code.DEADLINE_EXCEEDED, "an append that is late already");
        Checking.refused(StreamNotFoundException.class, () -> Checking.read(db, "silent"));
        Checking.soon(db.appendToStream("silent", Checking.expecting(StreamState.noStream()), Checking.event(2)));
        Checking.equal(Checking.numbers(Checking.read(db, "silent")), asList(2), "the connection goes on");
        Checking.soon(db.shutdown());
    }
}
