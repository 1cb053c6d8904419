/** What the demo has its worker do. The queue is the pipe between the two processes; any other will do. */
export type DemoTask =
  | { readonly kind: "square"; readonly taskId: string; readonly input: number }
  | { readonly kind: "fail"; readonly taskId: string }
  | { readonly kind: "member"; readonly groupId: string; readonly taskId: string; readonly input: number };
