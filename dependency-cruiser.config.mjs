// The rooms of lib/, from the top down. A file may import from its own row and from those below it.
const rooms = [
  ["index.ts", "cli/", "clients/", "dashboard/", "http/", "nats/", "operators/", "queues/"],
  ["postgres-backend.ts", "memory-backend.ts"],
  ["backend-setup.ts"],
  ["backend-core.ts"],
  ["telemetry/"],
  ["admin/"],
  ["attach/", "groups/", "memory/", "relay/"],
  ["results/"],
  ["waiting/"],
  ["notifications/", "schema/"],
  ["database/"],
  ["call-options.ts", "result-backend.ts", "options.ts"],
  ["value/"],
  ["errors.ts", "logger.ts", "optional-packages.ts", "package-files.ts"],
];

const inLib = (names) => `^lib/(${names.join("|").replaceAll(".", "\\.")})`;

const roomsAbove = rooms.slice(1).map((row, index) => ({
  name: `imports-point-down-from-${row[0].replace(/\W.*/, "")}`,
  comment: "Imports point down: see the rooms at the top of dependency-cruiser.config.mjs.",
  severity: "error",
  from: { path: inLib(row) },
  to: { path: inLib(rooms.slice(0, index + 1).flat()) },
}));

// The type of the option `notifier` belongs to the room of notifications.
const optionsToNotifier = "^lib/notifications/notifier\\.ts$";

export default {
  forbidden: [
    {
      name: "no-cycle",
      comment: "Types count, too: files that need each other belong together, or share a third.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    ...roomsAbove.map((rule) =>
      rule.from.path.includes("options") ? { ...rule, to: { ...rule.to, pathNot: optionsToNotifier } } : rule,
    ),
    {
      name: "memory-without-database",
      comment: "The memory backend, and the rules of groups that it shares, do without a database.",
      severity: "error",
      from: { path: "^lib/(memory/|memory-backend\\.ts|groups/group-rules\\.ts)" },
      to: {
        path: "^lib/(database|notifications|schema|groups|results)/",
        pathNot: "^lib/(groups/group-rules|results/(reader|task-reads))\\.ts$",
      },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
  },
};
