import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.kurrent.dbclient.AppendToStreamOptions;
import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBConnectionString;
import io.kurrent.dbclient.ReadResult;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.ResolvedEvent;
import io.kurrent.dbclient.StreamState;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** What the checks share: a client, events whose number is in their data, and comparisons that say what was expected. */
final class Checking {
    private Checking() {}

    static KurrentDBClient client(String address) {
        return connect("kurrentdb://" + address + "?tls=false");
    }

    static KurrentDBClient connect(String settings) {
        return KurrentDBClient.create(KurrentDBConnectionString.parseOrThrow(settings));
    }

    static EventData event(int number) {
        return event(number, "note.Taken");
    }

    static EventData event(int number, String type) {
        return EventData.builderAsJson(UUID.randomUUID(), type, data(number)).build();
    }

    static EventData event(int number, UUID id) {
        return EventData.builderAsJson(id, "note.Taken", data(number)).build();
    }

    private static byte[] data(int number) {
        return ("{\"number\":" + number + "}").getBytes(StandardCharsets.UTF_8);
    }

    /** The events from the number `first` on, before `end`. */
    static EventData[] events(int first, int end) {
        return IntStream.range(first, end).mapToObj(Checking::event).toArray(EventData[]::new);
    }

    /** The same event id for the same number, so that an append can be repeated. */
    static UUID idOf(int number) {
        return new UUID(0xC11E47L, number);
    }

    static int number(ResolvedEvent resolved) {
        String text = new String(resolved.getEvent().getEventData(), StandardCharsets.UTF_8);
        return Integer.parseInt(text.substring(text.indexOf(':') + 1, text.length() - 1).trim());
    }

    static List<Integer> numbers(ReadResult read) {
        return each(read, Checking::number);
    }

    static <T> List<T> each(ReadResult read, Function<ResolvedEvent, T> what) {
        return read.getEvents().stream().map(what).collect(Collectors.toList());
    }

    static List<Integer> range(int first, int end) {
        return IntStream.range(first, end).boxed().collect(Collectors.toList());
    }

    static ReadResult read(KurrentDBClient db, String stream) throws Exception {
        return soon(db.readStream(stream, ReadStreamOptions.get()));
    }

    static AppendToStreamOptions expecting(StreamState state) {
        return AppendToStreamOptions.get().streamState(state);
    }

    static <T> T soon(Future<T> future) throws Exception {
        try {
            return future.get(60, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            // The client wraps some of its exceptions more than once.
            Throwable cause = error;
            while (cause.getCause() != null && (cause instanceof ExecutionException
                || cause instanceof CompletionException || cause.getClass() == RuntimeException.class)) {
                cause = cause.getCause();
            }
            if (cause instanceof Exception) throw (Exception) cause;
            throw error;
        }
    }

    static void equal(Object found, Object expected, String what) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": expected " + shortened(expected) + ", found " + shortened(found));
        }
    }

    static void truth(boolean truth, String what) {
        if (!truth) throw new AssertionError(what);
    }

    private static String shortened(Object value) {
        String text = String.valueOf(value);
        return text.length() < 400 ? text : text.substring(0, 200) + " … " + text.substring(text.length() - 200);
    }

    /** The exception of exactly this class that the call must end with. */
    static <E extends Exception> E refused(Class<E> kind, Callable<?> call) throws Exception {
        Object answer;
        try {
            answer = call.call();
        } catch (Exception error) {
            if (error.getClass() == kind) return kind.cast(error);
            throw new AssertionError("expected " + kind.getSimpleName() + ", found " + error, error);
        }
        throw new AssertionError("expected " + kind.getSimpleName() + ", but it was answered " + shortened(answer));
    }

    /** The call must end with a status whose trailers name this error and have this property besides. */
    static void named(String exception, String property, Callable<?> call) throws Exception {
        StatusRuntimeException error = refused(StatusRuntimeException.class, call);
        equal(trailer(error, "exception"), exception, "the name of " + error.getStatus());
        truth(trailer(error, property) != null, error.getStatus() + " has no " + property);
    }

    private static String trailer(StatusRuntimeException error, String name) {
        Metadata trailers = error.getTrailers();
        return trailers == null ? null : trailers.get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
    }

    /** Waits until this is so. */
    static void within(String what, Callable<Boolean> look) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(15);
        while (!look.call()) {
            truth(System.nanoTime() < end, what + ": not within 15 s");
            Thread.sleep(20);
        }
    }
}
