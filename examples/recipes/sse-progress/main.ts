// npx tsx examples/recipes/sse-progress/main.ts [--stay]
//
// A page shows the progress of a group of tasks live, by server-sent events. With --stay the tasks take longer and the
// server runs until Ctrl+C: open the printed address. Without it, the example reads the events itself and ends.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { EventSource } from "eventsource";
import { type GroupProgress, PostgresResultBackend } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../../support/database";
import { until } from "../../support/until";
import { WebServer } from "../../support/web-server";
import { page } from "./page";
import { streamProgress } from "./stream-progress";

const groupId = "map";
const tiles = Array.from({ length: 40 }, (_, index) => `tile-${index}`);
const stays = process.argv.includes("--stay");

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  await backend.initGroup(groupId, tiles);

  await using server = await WebServer.start(async (request, response) => {
    const [, kind, id = "", part] = (request.url ?? "/").split("/").map(decodeURIComponent);
    if (kind !== "groups" || (await backend.getGroup(id)) === undefined) {
      response.writeHead(404).end("There is no such group.");
    } else if (part === "events") {
      streamProgress(backend, id, response);
    } else {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page);
    }
  });

  if (stays) {
    console.log(`Open ${server.url}/groups/${groupId}. Ctrl+C ends it.`);
    await Promise.all([work(backend), once(process, "SIGINT")]);
    return;
  }
  const source = new EventSource(`${server.url}/groups/${groupId}/events`);
  const shown = showEvents(source);
  await once(source, "progress");
  await work(backend);
  await shown;
  await until(() => backend.stats().waitingGroups === 0);
  console.log("The last event is sent, and nothing waits for the group any more.");
}

/** Does what the page does, without a browser. */
async function showEvents(source: EventSource): Promise<void> {
  let quarters = -1;
  source.addEventListener("progress", ({ data }) => {
    const { total, completed, failed } = JSON.parse(data as string) as GroupProgress;
    const reached = Math.floor((4 * (completed + failed)) / (total ?? 1));
    if (reached > quarters) console.log(`${completed} of ${total ?? 0}, ${failed} failed`);
    quarters = reached;
  });
  await once(source, "done");
  source.close();
}

/** Usually many workers, in other processes. */
async function work(backend: PostgresResultBackend): Promise<void> {
  for (const tile of tiles) {
    await sleep(stays ? 500 : 10);
    if (tile === "tile-13") await backend.failGroupMember(groupId, tile, new Error("there is only water"));
    else await backend.completeGroupMember(groupId, tile, `${tile}.png`);
  }
}

void withDatabase(main);
