// The worker process of the demo: takes tasks from its parent process and stores their results.

import { PostgresResultBackend } from "../../index";

/** A task of the demo. The queue is the IPC channel between the two processes. */
export type DemoTask =
  | { readonly kind: "square"; readonly taskId: string; readonly input: number }
  | { readonly kind: "fail"; readonly taskId: string }
  | { readonly kind: "member"; readonly groupId: string; readonly taskId: string; readonly input: number };

async function main(): Promise<void> {
  const backend = await PostgresResultBackend.connect(process.env["DATABASE_URL"] ?? "");
  const exit = (): void => void backend.close().then(() => process.exit());
  // Ctrl-C in a terminal reaches both processes. The parent decides when this one ends.
  process.on("SIGINT", () => undefined);
  process.once("SIGTERM", exit);
  process.once("disconnect", exit);
  process.on("message", (task: DemoTask) => void work(backend, task));
  process.send?.("ready");
  if (!process.connected) exit();
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
