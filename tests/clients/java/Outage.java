import static java.util.Arrays.asList;

import io.kurrent.dbclient.ConnectionShutdownException;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.ReadResult;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.WrongExpectedVersionException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The server is found by discovery, and killed under appends: the test that runs this program kills it at `KILL ME` and
 * says `killed` on standard input once it is there again.
 */
final class Outage {
    /** Appends that are acknowledged before the kill, and once more behind it. */
    private static final int BEFORE = 200;
    private static final int BEHIND = 200;

    private Outage() {}

    static void discovered(String address) throws Exception {
        int index = 0;
        for (String target : asList("esdb+discover://" + address, "kurrentdb+discover://" + address, "esdb://127.0.0.1:1," + address)) {
            KurrentDBClient db = Checking.connect(target + "?tls=false&maxDiscoverAttempts=3&discoveryInterval=100");
            String stream = "found-" + index;
            Checking.soon(db.appendToStream(stream, Checking.expecting(StreamState.noStream()), Checking.event(1)));
            Checking.equal(Checking.numbers(Checking.read(db, stream)), asList(1), target);
            Checking.soon(db.shutdown());
            index += 1;
        }
        KurrentDBClient nowhere =
            Checking.connect("esdb+discover://127.0.0.1:1?tls=false&maxDiscoverAttempts=2&discoveryInterval=10");
        Checking.refused(ConnectionShutdownException.class,
            () -> Checking.soon(nowhere.appendToStream("found-nowhere", Checking.event(1))));
    }

    static void killed(String address) throws Exception {
        AtomicBoolean back = new AtomicBoolean();
        Thread waiting = new Thread(() -> {
            try {
                String line = new BufferedReader(new InputStreamReader(System.in)).readLine();
                back.set("killed".equals(line));
            } catch (IOException error) {
                error.printStackTrace();
            }
        });
        waiting.setDaemon(true);
        waiting.start();
        KurrentDBClient db = Checking.client(address);
        long end = System.nanoTime() + 100_000_000_000L;
        int acknowledged = 0;
        int failures = 0;
        int behind = 0;
        while (behind < BEHIND) {
            Checking.truth(System.nanoTime() < end, "100 s are over: " + acknowledged + " acknowledged, " + failures + " failed");
            StreamState expected = acknowledged == 0 ? StreamState.noStream() : StreamState.streamRevision(acknowledged - 1);
            try {
                // A repetition has the same id, so it is written once, whatever became of the one before.
                UUID id = Checking.idOf(1000 + acknowledged);
                Checking.soon(db.appendToStream("killed", Checking.expecting(expected), Checking.event(acknowledged, id)));
            } catch (WrongExpectedVersionException error) {
                throw error;
            } catch (Exception error) {
                failures += 1;
                Thread.sleep(50);
                // The client gives up for good once it has looked for the server in vain for long enough.
                if (db.isShutdown()) db = Checking.client(address);
                continue;
            }
            acknowledged += 1;
            if (back.get()) behind += 1;
            if (acknowledged == BEFORE) {
                System.out.println("KILL ME");
                System.out.flush();
            }
        }
        ReadResult read = Checking.read(db, "killed");
        Checking.equal(Checking.numbers(read), Checking.range(0, acknowledged), "every acknowledged event, once, in order");
        Checking.equal(Checking.each(read, it -> it.getEvent().getEventId()),
            IntStream.range(1000, 1000 + acknowledged).mapToObj(Checking::idOf).collect(Collectors.toList()), "their ids");
        Checking.soon(db.shutdown());
    }
}
