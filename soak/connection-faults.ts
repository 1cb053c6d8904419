import { setTimeout as sleep } from "node:timers/promises";
import type { TcpProxy } from "../spec/support/tcp-proxy";
import type { Outages } from "./outages";
import type { Fault, Injected } from "./faults";
import { now } from "./protocol";
import type { SeededRandom } from "./random";
import type { Site } from "./site";

/**
 * A worker discovers dead connections one by one: the listener by a heartbeat within 15 s, a pooled connection when a
 * query on it has gone unanswered for 5 s.
 */
const strandedMs = 40_000;

type Break = (proxy: TcpProxy, lengthMs: number) => Promise<void>;

/**
 * Faults of the network paths to the server. Each path has one fault at a time, so that one fault does not repair
 * another too early.
 */
export function connectionFaults(outages: Outages): Fault[] {
  const busy = new WeakSet<TcpProxy>();
  const onProxy =
    (breakIt: Break) =>
    (random: SeededRandom): ((site: Site) => Promise<Injected>) => {
      const [place, lengthMs] = [random.next(), random.between(50, 1_500)];
      return async (site) => {
        const proxy = site.proxies[Math.floor(place * site.proxies.length)];
        if (proxy === undefined || busy.has(proxy)) return "nothing to break";
        busy.add(proxy);
        try {
          await breakIt(proxy, lengthMs);
        } finally {
          proxy.mode = "pass";
          proxy.delayMs = 0;
          busy.delete(proxy);
        }
        return "injected";
      };
    };
  const strand = (random: SeededRandom): ((site: Site) => Promise<Injected>) => {
    const place = random.next();
    return async (site) => {
      const proxy = site.proxies[Math.floor(place * site.proxies.length)];
      if (proxy === undefined) return "nothing to break";
      proxy.strand();
      for (const worker of site.workers)
        if (worker.proxy === proxy) outages.add(worker.name, now(), now() + strandedMs);
      return Promise.resolve("injected");
    };
  };
  return [
    { name: "connections cut", weight: 4, plan: onProxy(cut) },
    { name: "nothing carried, then cut", weight: 4, plan: onProxy(blackhole) },
    { name: "connections refused", weight: 4, plan: onProxy(refuse) },
    { name: "everything slow", weight: 4, plan: onProxy(delay) },
    { name: "connections forgotten on the way", weight: 1, plan: strand },
  ];
}

const cut: Break = async (proxy) => {
  proxy.cut();
  return Promise.resolve();
};

/** The bytes sent meanwhile are lost, which no connection may survive. */
const blackhole: Break = async (proxy, lengthMs) => {
  proxy.mode = "blackhole";
  await sleep(lengthMs);
  proxy.cut();
};

const refuse: Break = async (proxy, lengthMs) => {
  proxy.mode = "refuse";
  proxy.cut();
  await sleep(lengthMs);
};

const delay: Break = async (proxy, lengthMs) => {
  // A login takes eight delays.
  proxy.delayMs = lengthMs / 10;
  await sleep(lengthMs);
};
