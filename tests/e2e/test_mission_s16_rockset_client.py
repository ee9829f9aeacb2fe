"""The JavaScript client from npm works with only the server's URL changed."""
import json
import subprocess

from lockset_dev import BUILD

SCRIPT = """
const rockset = require('@rockset/client').default;
const client = rockset(process.env.KEY, process.env.URL);
(async () => {
  const out = {};
  out.organization = (await client.orgs.getOrganization()).data.display_name !== undefined;
  out.created = (await client.collections.createCollection('commons', {name: 'js'})).data.status;
  const added = await client.documents.addDocuments('commons', 'js', {data: [{_id: 'a', x: 1}, {_id: 'b', x: 2, n: {y: 'z'}}]});
  out.added = added.data.map(d => d.status);
  const patched = await client.documents.patchDocuments('commons', 'js',
      {data: [{_id: 'a', patch: [{op: 'replace', path: '/x', value: 40}]}]});
  out.patched = patched.data.map(d => d.status);
  const answer = await client.queries.query({sql: {query: 'SELECT _id, x FROM commons.js WHERE x > :n ORDER BY _id',
      parameters: [{name: 'n', type: 'int', value: '1'}]}});
  out.results = answer.results;
  const deleted = await client.documents.deleteDocuments('commons', 'js', {data: [{_id: 'b'}]});
  out.deleted = deleted.data.map(d => d.status);
  out.count = (await client.queries.query({sql: {query: 'SELECT count(*) AS n FROM js'}})).results;
  try { await client.collections.getCollection('commons', 'nope'); } catch (e) { out.missing = e.type; }
  try { await client.queries.query({sql: {query: 'SELEC 1'}}); } catch (e) { out.syntax = e.type; }
  await client.collections.deleteCollection('commons', 'js');
  console.log(JSON.stringify(out));
})().catch(e => { console.error(JSON.stringify(e), e); process.exit(1); });
"""


def test_collections_documents_and_queries(shared_dev):
    org = shared_dev.create_org()
    done = subprocess.run(["node", "-e", SCRIPT], cwd=BUILD / "deps" / "js", capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/local/bin:/usr/bin:/bin", "KEY": org.api_key, "URL": shared_dev.api}, check=False)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out == {
        "organization": True, "created": "CREATED", "added": ["ADDED", "ADDED"], "patched": ["PATCHED"],
        "results": [{"_id": "a", "x": 40}, {"_id": "b", "x": 2}], "deleted": ["DELETED"], "count": [{"n": 1}],
        "missing": "NOTFOUND", "syntax": "QUERY_ERROR"}
