// A shop: maps of records, lists of strings, an index by name.
import java.util.*;

public class Objects {
    record Order(int id, long cents, String customer, List<Integer> items) {}

    public static void main(String[] args) throws Exception {
        Random random = new Random(1);
        Map<Integer, Order> orders = new HashMap<>();
        Map<String, List<Order>> byCustomer = new HashMap<>();
        for (int i = 0; i < 200_000; i++) {
            List<Integer> items = new ArrayList<>();
            for (int k = random.nextInt(5); k >= 0; k--) items.add(random.nextInt(10_000));
            Order order = new Order(i, random.nextInt(1_000_000), "customer " + random.nextInt(20_000), items);
            orders.put(i, order);
            byCustomer.computeIfAbsent(order.customer(), name -> new ArrayList<>()).add(order);
        }
        System.out.println("ready");
        System.in.read();
        System.out.println(orders.size() + byCustomer.size());
    }
}
