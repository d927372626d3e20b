CREATE TABLE event(id INTEGER PRIMARY KEY, at INTEGER, kind TEXT, customer INTEGER, amount REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO event SELECT i, 1600000000 + i * 37, substr('createupdatedelete', 1 + 6 * (i % 3), 6), (i * 7919) % 5000,
    ((i * 104729) % 100000) / 100.0, 'event number ' || i || ' of customer ' || ((i * 7919) % 5000) FROM n;
CREATE INDEX event_by_customer ON event(customer, at);
CREATE INDEX event_by_note ON event(note);
SELECT count(*) FROM (SELECT customer, sum(amount) FROM event GROUP BY customer);
