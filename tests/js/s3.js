// What an application does with AWS's own SDK; only the endpoint is Lockset's. Prints one JSON object.
const { Readable } = require("stream");
const s3 = require("@aws-sdk/client-s3");

const Bucket = process.env.BUCKET;
const client = new s3.S3Client({
  endpoint: process.env.ENDPOINT,
  region: "us-west-2",
  forcePathStyle: true,
  maxAttempts: 1,
  credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY },
});
const send = (name, input) => client.send(new s3[name + "Command"]({ Bucket, ...input }));
const pattern = (n) => Buffer.alloc(n, "0123456789abcdefghijklmnopqrstuvwxyz\n");
const same = async (answer, body) => Buffer.compare(Buffer.from(await answer.Body.transformToByteArray()), body) === 0;
const pieces = (body) => Readable.from((function* () {
  for (let i = 0; i < body.length; i += 10000) yield body.subarray(i, i + 10000);
})());

async function failure(promise) {
  try {
    await promise;
    return "none";
  } catch (e) {
    return `${e.name} ${e.$metadata.httpStatusCode}`;
  }
}

async function main() {
  const out = { read: {}, streamed: {}, checksums: {} };
  // Sends of these kinds bring a checksum unasked, and reads verify the one they get.
  for (const size of [0, 1, 65536, 300001]) {
    const body = pattern(size);
    const put = await send("PutObject", { Key: `js/plain ${size}`, Body: body, Metadata: { size: `${size}` } });
    const got = await send("GetObject", { Key: `js/plain ${size}` });
    out.read[size] = (await same(got, body)) && got.Metadata.size === `${size}` && got.ETag === put.ETag &&
      got.ChecksumCRC32 === put.ChecksumCRC32 && put.ChecksumCRC32 !== undefined && put.SSEKMSKeyId === process.env.KEY_ARN;
  }
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
    const body = pattern(200000), name = `Checksum${ChecksumAlgorithm}`;
    const put = await send("PutObject", { Key: "js/c", Body: body, ChecksumAlgorithm });
    const streamed = await send("PutObject", { Key: "js/s", Body: pieces(body), ContentLength: body.length, ChecksumAlgorithm });
    const got = await send("GetObject", { Key: "js/s", ChecksumMode: "ENABLED" });
    out.checksums[ChecksumAlgorithm] = put[name] !== undefined && put[name] === streamed[name] && got[name] === put[name];
    out.streamed[ChecksumAlgorithm] = await same(got, body);
  }
  const Key = "js/parts", bodies = [pattern(5 << 20), pattern((5 << 20) + 1), pattern(7)];
  const created = await send("CreateMultipartUpload", { Key, ContentType: "text/x-parts", ChecksumAlgorithm: "CRC32" });
  const { UploadId } = created;
  const Parts = [];
  for (const [i, Body] of bodies.entries()) {
    const part = await send("UploadPart", { Key, UploadId, PartNumber: i + 1, Body });
    Parts.push({ PartNumber: i + 1, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32 });
  }
  out.listed = (await send("ListParts", { Key, UploadId })).Parts.map((p) => p.Size);
  const completed = await send("CompleteMultipartUpload", { Key, UploadId, MultipartUpload: { Parts } });
  const whole = await send("GetObject", { Key });
  out.parts = (await same(whole, Buffer.concat(bodies))) && whole.ContentType === "text/x-parts";
  out.composite = created.ChecksumType === "COMPOSITE" && completed.ChecksumCRC32.endsWith("-3") &&
    whole.ChecksumCRC32 === completed.ChecksumCRC32 && whole.ChecksumType === "COMPOSITE";
  out.ranged = await same(await send("GetObject", { Key, Range: "bytes=5242870-5242890" }),
    Buffer.concat(bodies).subarray(5242870, 5242891));
  out.attributes = await send("GetObjectAttributes", { Key, ObjectAttributes: ["ObjectSize", "ObjectParts", "StorageClass"] })
    .then((a) => [a.ObjectSize, a.ObjectParts.TotalPartsCount, a.StorageClass]);
  await send("CopyObject", { Key: "js/copy", CopySource: `${Bucket}/js/plain%2065536` });
  out.copied = await same(await send("GetObject", { Key: "js/copy" }), pattern(65536));
  out.first = await failure(send("PutObject", { Key: "js/once", Body: "1", IfNoneMatch: "*" }));
  out.second = await failure(send("PutObject", { Key: "js/once", Body: "2", IfNoneMatch: "*" }));
  out.stale = await failure(send("PutObject", { Key: "js/once", Body: "3", IfMatch: '"00000000000000000000000000000000"' }));
  out.unchanged = await failure(send("GetObject", { Key: "js/once", IfNoneMatch: (await send("HeadObject", { Key: "js/once" })).ETag }));
  out.missing = await failure(send("GetObject", { Key: "js/none" }));
  out.tagged = await failure(send("PutObject", { Key: "js/tagged", Body: "", Tagging: "a=b" }));
  const found = [];
  for await (const page of s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket, Prefix: "js/" }))
    found.push(...page.Contents.map((o) => o.Key));
  out.found = found;
  const deleted = await send("DeleteObjects", { Delete: { Objects: found.map((k) => ({ Key: k, VersionId: "null" })) } });
  out.deleted = deleted.Deleted.length === found.length && deleted.Errors === undefined;
  out.left = (await send("ListObjectsV2", { Prefix: "js/" })).KeyCount;
  console.log(JSON.stringify(out));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
