// The worker process of the demo. It takes tasks from its parent, one message each, and stores what becomes of them. It does not know who waits, or whether anybody does.

import { PostgresResultBackend } from "../../index";
import type { DemoTask } from "./tasks";

async function main(): Promise<void> {
  const backend = await PostgresResultBackend.connect(process.env["DATABASE_URL"] ?? "");
  const leave = (): void => void backend.close().then(() => process.exit());
  // Ctrl-C in a terminal reaches both processes; the parent decides.
  process.on("SIGINT", () => undefined);
  process.once("SIGTERM", leave);
  process.once("disconnect", leave);
  process.on("message", (task: DemoTask) => void work(backend, task));
  process.send?.("ready");
  if (!process.connected) leave();
}

async function work(backend: PostgresResultBackend, task: DemoTask): Promise<void> {
  switch (task.kind) {
    case "square":
      await backend.store(task.taskId, { square: task.input ** 2, worker: process.pid });
      return;
    case "fail":
      await backend.fail(task.taskId, new RangeError("the square root of -1 is not real"));
      return;
    case "member":
      await backend.completeGroupMember(task.groupId, task.taskId, task.input ** 2);
  }
}

void main();
