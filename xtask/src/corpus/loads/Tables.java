// A time-series table: primitive arrays, sorted maps of dates, wide strings.
import java.time.LocalDate;
import java.util.*;

public class Tables {
    static final class Reading {
        final double value;
        final float error;
        final short station;
        Reading next;

        Reading(double value, float error, short station) {
            this.value = value;
            this.error = error;
            this.station = station;
        }
    }

    public static void main(String[] args) throws Exception {
        Random random = new Random(2);
        TreeMap<LocalDate, Reading> byDay = new TreeMap<>();
        Map<String, String> names = new LinkedHashMap<>();
        double[] history = new double[400_000];
        int[] counts = new int[600_000];
        long[] stamps = new long[300_000];
        Reading last = null;
        for (int i = 0; i < history.length; i++) history[i] = 20 + random.nextGaussian();
        for (int i = 0; i < counts.length; i++) counts[i] = random.nextInt(50);
        for (int i = 0; i < stamps.length; i++) stamps[i] = 1_600_000_000_000L + i * 60_000L + random.nextInt(1000);
        for (int day = 0; day < 120_000; day++) {
            Reading reading = new Reading(Math.round(random.nextDouble() * 1000) / 10.0, random.nextFloat(), (short) (day % 40));
            reading.next = last;
            last = reading;
            byDay.put(LocalDate.ofEpochDay(day), reading);
            names.put("station-" + day, "Мессстелле № " + day + " · " + random.nextInt(1000));
        }
        System.out.println("ready");
        System.in.read();
        System.out.println(byDay.size() + names.size() + history[1] + counts[1] + stamps[1]);
    }
}
