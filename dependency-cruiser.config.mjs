export default {
  forbidden: [
    {
      name: "no-cycle",
      comment: "Types count, too: files that need each other belong together, or share a third.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
  },
};
