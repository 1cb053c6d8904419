import { runExample } from "./support/run-example";
import { describeWithNats } from "./support/where";

describeWithNats()("the example of notifications over NATS", () => {
  it("shows notifications by the worker and by a relay, while no session listens to Postgres", async () => {
    expect(await runExample("nats/main.ts")).toBe(`Stored by a worker that notifies over NATS: { pages: 12 }
Connections that listen to Postgres: 0
Inserted by another program, notified by the relay: { pages: 3 }
Found only by a sweep: 0
`);
  });
});

it("is skipped where there is no nats-server", async () => {
  expect(await runExample("nats/main.ts", { PATH: "/no such folder" })).toMatch(
    /^Skipped: there is no nats-server in the PATH .*\n$/,
  );
});
