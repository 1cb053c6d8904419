import importX from "eslint-plugin-import-x";
import tsdoc from "eslint-plugin-tsdoc";
import tseslint from "typescript-eslint";

// The rooms of lib/, from the top down. A file may import from its own room and from those below it.
const rooms = [
  ["index.ts", "cli", "dashboard", "http", "nats", "operators"],
  ["postgres-backend.ts", "memory-backend.ts"],
  ["backend-core.ts"],
  ["telemetry"],
  ["admin"],
  ["groups", "memory", "relay"],
  ["results"],
  ["waiting"],
  ["notifications", "schema"],
  ["database"],
  ["result-backend.ts", "options.ts"],
  ["value"],
  ["errors.ts", "logger.ts"],
];
const zones = rooms.flatMap((room, level) =>
  room.map((target) => ({
    target: `./lib/${target}`,
    from: rooms
      .slice(0, level)
      .flat()
      .map((name) => `./lib/${name}`),
    // The type of the option `notifier` belongs to the room of notifications.
    ...(target === "options.ts" ? { except: ["./notifier.ts"] } : {}),
    message: "Imports point down: see the rooms in eslint.config.mjs.",
  })),
);

// The memory backend, and the rules of groups that it shares, do without a database.
const memoryZones = [
  { from: "./lib/database" },
  { from: "./lib/notifications" },
  { from: "./lib/schema" },
  { from: "./lib/groups", except: ["./group-rules.ts"] },
  { from: "./lib/results", except: ["./reader.ts", "./store-row.ts"] },
].map((zone) => ({
  ...zone,
  target: ["./lib/memory", "./lib/memory-backend.ts", "./lib/groups/group-rules.ts"],
  message: "The memory backend does not import database code.",
}));

export default tseslint.config(
  { ignores: ["dist/", "site/", "coverage/", "node_modules/", ".tmp/"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { tsdoc, "import-x": importX },
    settings: {
      "import-x/resolver": { node: { extensions: [".ts", ".mjs", ".js"] } },
      "import-x/parsers": { "@typescript-eslint/parser": [".ts"] },
    },
    rules: {
      "tsdoc/syntax": "error",
      "import-x/no-cycle": "error",
      "import-x/no-restricted-paths": [
        "error",
        { zones: [...zones.filter((zone) => zone.from.length > 0), ...memoryZones] },
      ],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      // The type parameter of `get<T>` is the caller's claim about the stored JSON and appears nowhere else.
      "@typescript-eslint/no-unnecessary-type-parameters": "off",
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "max-lines": ["error", 400],
      "max-lines-per-function": ["error", { max: 80, skipComments: true, skipBlankLines: true }],
      "no-warning-comments": ["error", { terms: ["todo", "fixme", "xxx"] }],
    },
  },
  { files: ["lib/**"], ignores: ["lib/cli/**", "lib/dashboard/**"], rules: { "no-console": "error" } },
  { files: ["spec/**"], rules: { "max-lines-per-function": "off" } },
  { files: ["**/*.mjs", "**/*.config.*", "lib/dashboard/page/**"], extends: [tseslint.configs.disableTypeChecked] },
);
