// New images byte for byte: the rows of the create table whose options the engine has.

import Qcow
import TestSupport
import Testing

@Suite("Create vectors", .tags(.genuine))
struct CreateVectorTests {
  @Test("the create table")
  func table() throws {
    var ran = 0
    let rows = try Json.vector("CREATE")["rows"].items
    for row in rows {
      let text = try row[0].string("options")
      let size = try row[1].number("size")
      let folder = try TemporaryDirectory()
      let vector = try VectorCreateOptions(size: size, commandLine: text, in: folder.path)
      let path = folder.path("t.qcow2")
      try createImage(path, vector.options)
      #expect(try length(ofFile: path) == row[6].number("length"), "create \(text) \(size)")
      #expect(try sha256(ofFile: path) == row[7].string("sha256"), "create \(text) \(size)")
      if text.contains("data_file") {
        #expect(try length(ofFile: folder.path("d.raw")) == row[8].number("data file"), "create \(text)")
      }
      ran += 1
    }
    print("create vectors: \(ran) of \(rows.count)")
    #expect(ran == rows.count)
  }

  @Test(
    "options that make no sense are refused in the words users know",
    arguments: [
      ("cluster_size=1000", "Cluster size must be a power of two between 512 and 2048k"),
      ("cluster_size=256", "Cluster size must be a power of two between 512 and 2048k"),
      ("cluster_size=4M", "Cluster size must be a power of two between 512 and 2048k"),
      (
        "extended_l2=on,cluster_size=8192",
        "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"
      ),
      (
        "compat=0.10,extended_l2=on",
        "Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)"
      ),
      (
        "compat=0.10,lazy_refcounts=on",
        "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)"
      ),
      (
        "compat=0.10,refcount_bits=8",
        "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"
      ),
      ("refcount_bits=3", "Refcount width must be a power of two and may not exceed 64 bits"),
      ("refcount_bits=128", "Refcount width must be a power of two and may not exceed 64 bits"),
    ])
  func refused(_ options: String, _ message: String) throws {
    let folder = try TemporaryDirectory()
    let vector = try VectorCreateOptions(size: 1 << 20, commandLine: options)
    let error = #expect(throws: ImageError.self) { try createImage(folder.path("t.qcow2"), vector.options) }
    #expect(error?.description == message)
    // The genuine tool says the same.
    let genuine = try run(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, folder.path("g.qcow2"), "1M"])
    #expect(genuine.stderr.hasSuffix(": \(message)\n"), "\(genuine.stderr)")
  }

  @Test("an image too large for its cluster size is refused")
  func tooLarge() throws {
    let folder = try TemporaryDirectory()
    var options = Image.CreateOptions(size: 1 << 40)
    options.clusterSize = 512
    let error = #expect(throws: ImageError.self) { try createImage(folder.path("t.qcow2"), options) }
    #expect(
      error?.description
        == "The image size is too large for file format 'qcow2' (try using a larger cluster size)")
  }
}
