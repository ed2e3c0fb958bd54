import io.kurrent.dbclient.Position;
import io.kurrent.dbclient.ResolvedEvent;
import io.kurrent.dbclient.Subscription;
import io.kurrent.dbclient.SubscriptionListener;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** What a subscription says, in order: events, that it has caught up, and its end. */
final class Follower extends SubscriptionListener {
    /** The word that a subscription has caught up. */
    static final class CaughtUp {
        final Long revision;
        final Position position;

        CaughtUp(Long revision, Position position) {
            this.revision = revision;
            this.position = position;
        }
    }

    /** The end, with its reason where there is one. */
    static final class Ended {
        final Throwable reason;

        Ended(Throwable reason) {
            this.reason = reason;
        }
    }

    private final BlockingQueue<Object> said = new LinkedBlockingQueue<>();

    @Override
    public void onEvent(Subscription subscription, ResolvedEvent event) {
        said.add(event);
    }

    @Override
    public void onCaughtUp(Subscription subscription, Instant time, Long revision, Position position) {
        said.add(new CaughtUp(revision, position));
    }

    @Override
    public void onCancelled(Subscription subscription, Throwable reason) {
        said.add(new Ended(reason));
    }

    /** What is said next. */
    Object next() throws Exception {
        Object next = said.poll(60, TimeUnit.SECONDS);
        if (next == null) throw new AssertionError("a subscription says nothing for 60 s");
        return next;
    }

    /** The next event; what is said besides is passed over, but for an end. */
    ResolvedEvent event() throws Exception {
        while (true) {
            Object next = next();
            if (next instanceof ResolvedEvent) return (ResolvedEvent) next;
            if (next instanceof Ended) throw new AssertionError("the subscription ended", ((Ended) next).reason);
        }
    }

    /** The events before it has caught up. */
    List<ResolvedEvent> past() throws Exception {
        List<ResolvedEvent> events = new ArrayList<>();
        while (true) {
            Object next = next();
            if (next instanceof CaughtUp) return events;
            if (next instanceof Ended) throw new AssertionError("the subscription ended", ((Ended) next).reason);
            events.add((ResolvedEvent) next);
        }
    }

    /** What is said within these milliseconds; nothing where it is silent. */
    Object silence(long milliseconds) throws Exception {
        return said.poll(milliseconds, TimeUnit.MILLISECONDS);
    }
}
