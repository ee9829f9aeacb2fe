// What an application does with @rockset/client; only the server's URL is Lockset's. Prints one JSON object.
const rockset = require("@rockset/client").default;

async function main() {
  const client = rockset(process.env.LOCKSET_API_KEY, process.env.LOCKSET_API);
  const seen = {};
  seen.organization = (await client.orgs.getOrganization()).data;
  seen.workspace = (await client.workspaces.createWorkspace({ name: "js" })).data;
  seen.workspaces = (await client.workspaces.listWorkspaces()).data.map((w) => w.name);
  seen.created = (await client.collections.createCollection("js", { name: "c", description: "from JavaScript" })).data;
  seen.collection = (await client.collections.getCollection("js", "c")).data;
  seen.collections = (await client.collections.listCollections()).data.map((c) => `${c.workspace}.${c.name}`);
  seen.inWorkspace = (await client.collections.workspaceCollections("js")).data.length;
  seen.added = await client.documents.addDocuments("js", "c", { data: [{ _id: "a", x: 1 }, { y: [1, { z: null }] }] });
  seen.patched = await client.documents.patchDocuments("js", "c", {
    data: [{ _id: "a", patch: [{ op: "replace", path: "/x", value: 2 }] }],
  });
  seen.rows = (
    await client.queries.query({
      sql: {
        query: "SELECT _id, x FROM js.c WHERE x >= :n",
        parameters: [{ name: "n", type: "int", value: "2" }],
        default_row_limit: 150,
      },
    })
  ).results;
  seen.deleted = await client.documents.deleteDocuments("js", "c", { data: [{ _id: "a" }] });
  seen.count = (await client.queries.query({ sql: { query: "SELECT count(*) FROM js.c" } })).results;
  for (const [name, call] of Object.entries({
    badSql: () => client.queries.query({ sql: { query: "SELECT nope FROM js.c" } }),
    noCollection: () => client.collections.getCollection("js", "nope"),
    badKey: () => rockset("wrong", process.env.LOCKSET_API).orgs.getOrganization(),
  })) {
    seen[name] = await call().then(() => "no error", (e) => ({ type: e.type, message: e.message }));
  }
  seen.dropped = (await client.collections.deleteCollection("js", "c")).data.status;
  await client.workspaces.deleteWorkspace("js");
  console.log(JSON.stringify(seen));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
