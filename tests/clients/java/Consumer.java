import io.kurrent.dbclient.PersistentSubscription;
import io.kurrent.dbclient.PersistentSubscriptionListener;
import io.kurrent.dbclient.ResolvedEvent;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** A consumer of a persistent subscription: what it is sent, with the count of retries, until its end. */
final class Consumer extends PersistentSubscriptionListener {
    /** An event that a consumer is sent. */
    static final class Sent {
        final PersistentSubscription by;
        final int retries;
        final ResolvedEvent event;

        Sent(PersistentSubscription by, int retries, ResolvedEvent event) {
            this.by = by;
            this.retries = retries;
            this.event = event;
        }
    }

    /** What it ends with; complete once it has ended, with nothing where that was asked for. */
    final CompletableFuture<Void> ended = new CompletableFuture<>();
    private final BlockingQueue<Sent> sent = new LinkedBlockingQueue<>();

    @Override
    public void onEvent(PersistentSubscription subscription, int retries, ResolvedEvent event) {
        sent.add(new Sent(subscription, retries, event));
    }

    @Override
    public void onCancelled(PersistentSubscription subscription, Throwable reason) {
        if (reason == null) ended.complete(null);
        else ended.completeExceptionally(reason);
    }

    /** The next event. */
    Sent next() throws Exception {
        Sent next = sent.poll(60, TimeUnit.SECONDS);
        if (next == null) throw new AssertionError("a consumer is sent nothing for 60 s");
        return next;
    }

    /** The next event within these milliseconds, if there is one. */
    Sent soon(long milliseconds) throws Exception {
        return sent.poll(milliseconds, TimeUnit.MILLISECONDS);
    }
}
