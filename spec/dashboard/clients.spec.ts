import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { EventStream, type EventStreamTimes } from "../../lib/dashboard/event-stream";
import { Rate } from "../../lib/dashboard/rate";
import { eventually } from "../support/eventually";

const megabyte = "x".repeat(1024 * 1024);

describe("a client of the dashboard", () => {
  let server: Server;

  beforeEach(() => {
    server = createServer();
  });
  afterEach(async () => {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  });

  /** A stream, and the end of it that reads. */
  async function open(
    times: EventStreamTimes,
  ): Promise<{ stream: EventStream; client: IncomingMessage; isOpen: () => boolean }> {
    let isOpen = true;
    let stream: EventStream | undefined;
    server.on("request", (_request, response) => {
      stream = new EventStream(response, times);
      response.on("close", () => (isOpen = false));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const asked = request({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", agent: false });
    asked.on("error", () => undefined);
    asked.end();
    const [client] = (await once(asked, "response")) as [IncomingMessage];
    client.on("error", () => undefined);
    if (stream === undefined) throw new Error("There was an answer, so there is a stream.");
    return { stream, client, isOpen: () => isOpen };
  }

  it("that is slow misses some, and gets the latest as soon as it can take it", async () => {
    const { stream, client, isOpen } = await open({ heartbeatMs: 10, stallMs: 60_000 });
    // Far more than lies between the two.
    for (let number = 1; number <= 200; number += 1) stream.send({ id: `run-${number}`, data: megabyte });
    const ids: string[] = [];
    client.setEncoding("utf8");
    client.on("data", (text: string) => ids.push(...[...text.matchAll(/^id: (.*)$/gm)].map(([, id]) => id ?? "")));
    await eventually(() => expect(ids.at(-1)).toBe("run-200"));
    expect(ids.length).toBeLessThan(100);
    expect(isOpen()).toBe(true);
    client.destroy();
    await eventually(() => expect(isOpen()).toBe(false));
  });

  it("that takes nothing is dropped, and costs one piece of news at the most until then", async () => {
    const { stream, client, isOpen } = await open({ heartbeatMs: 10, stallMs: 200 });
    client.pause();
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    await eventually(() => {
      for (let number = 1; number <= 20; number += 1) stream.send({ id: `run-${number}`, data: megabyte });
      expect(isOpen()).toBe(false);
    });
    expect(process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before).toBeLessThan(100 * 2 ** 20);
    client.destroy();
  });

  it("that takes what it gets is not, however long nothing else happens", async () => {
    const { client, isOpen } = await open({ heartbeatMs: 20, stallMs: 50 });
    let heartbeats = 0;
    client.setEncoding("utf8");
    client.on("data", (text: string) => (heartbeats += [...text.matchAll(/^event: heartbeat$/gm)].length));
    await eventually(() => expect(heartbeats).toBeGreaterThan(20));
    expect(isOpen()).toBe(true);
  });
});

describe("a rate", () => {
  it("counts the seconds that are over, and those in which nothing was", () => {
    let now = 10_500;
    const rate = new Rate(3, () => now);
    const at = (time: number): readonly number[] => {
      now = time;
      return rate.history();
    };
    rate.add();
    rate.add();
    expect(at(10_999)).toEqual([0, 0, 0]);
    expect(at(11_000)).toEqual([0, 0, 2]);
    rate.add();
    expect(at(12_000)).toEqual([0, 2, 1]);
    expect(at(13_000)).toEqual([2, 1, 0]);
    rate.add();
    expect(at(15_900)).toEqual([0, 1, 0]);
    expect(at(1_000_000)).toEqual([0, 0, 0]);
    rate.add();
    expect(at(1_001_000)).toEqual([0, 0, 1]);
  });
});
