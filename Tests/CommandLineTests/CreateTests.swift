// `create` against the genuine `qemu-img create`: the line it prints, its refusals, its exit codes,
// and every byte of the file.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct CreateTests {
  static let cases: [[String]] = [
    ["a.img", "10M"], ["a.img", "0"], ["a.img", "1000"], ["a.img", "1.5G"], ["-o", "size=1M", "a.img"],
    ["-q", "a.img", "1M"],
    ["-o", "cluster_size=512", "a.img", "4M"], ["-o", "cluster_size=4k", "a.img", "1G"],
    ["-o", "cluster_size=2M", "a.img", "1T"], ["-o", "cluster_size=2048k", "a.img", "1"], ["a.img", "64T"],
    ["-o", "extended_l2=on", "a.img", "1G"], ["-o", "extended_l2=yes", "a.img", "1M"],
    ["-o", "extended_l2", "a.img", "1M"],
    ["-o", "noextended_l2", "a.img", "1M"], ["-o", "extended_l2=on,cluster_size=16k", "a.img", "1G"],
    ["-o", "compat=0.10", "a.img", "1M"], ["-o", "compat=v2", "a.img", "1M"],
    ["-o", "compat=v3,lazy_refcounts=on", "a.img", "1M"], ["-o", "compat=1.1", "a.img", "1M"],
    ["-o", "refcount_bits=1", "a.img", "1M"], ["-o", "refcount_bits=2", "a.img", "1M"],
    ["-o", "refcount_bits=4", "a.img", "1M"], ["-o", "refcount_bits=8", "a.img", "1M"],
    ["-o", "refcount_bits=32", "a.img", "1M"], ["-o", "refcount_bits=64", "a.img", "1M"],
    ["-o", "refcount_bits=64,cluster_size=512,preallocation=metadata", "a.img", "1M"],
    ["-o", "refcount_bits=1,cluster_size=512,preallocation=metadata", "a.img", "3333333"],
    ["-o", "preallocation=metadata", "a.img", "100M"], ["-o", "preallocation=off", "a.img", "100M"],
    ["-o", "preallocation=metadata,extended_l2=on", "a.img", "100M"],
    ["-o", "preallocation=metadata,cluster_size=4k,refcount_bits=32", "a.img", "300M"],
    ["-o", "preallocation=metadata,compat=0.10", "a.img", "1G"],
    ["-o", "preallocation=metadata", "a.img", "3G"],
    ["-o", "cluster_size=128k", "-o", "refcount_bits=1", "a.img", "1M"],
    ["-fqcow2", "-ocluster_size=4k", "a.img", "1M"],
    ["-o", "cluster_size=4k,cluster_size=8k", "a.img", "1M"],
    ["-o", "preallocation=falloc", "a.img", "10M"], ["-o", "preallocation=full", "a.img", "3M"],
    ["-o", "preallocation=falloc,cluster_size=512,refcount_bits=64", "a.img", "1M"],
    ["-o", "compression_type=zstd", "a.img", "1M"], ["-o", "data_file=d", "a.img", "1M"],
    ["-o", "data_file=d,data_file_raw=on", "a.img", "9M"],
    ["-o", "data_file=d,preallocation=full", "a.img", "2M"],
    // Refused.
    ["-o", "compression_type=zstd,compat=0.10", "a.img", "1M"],
    ["-o", "data_file=d,compat=0.10", "a.img", "1M"],
    ["-o", "data_file_raw=on", "a.img", "1M"],
    ["a.img"], ["-o", "size=1M", "a.img", "2M"], ["a.img", "foo"], ["a.img", "8E"], ["a.img", "7E"],
    ["a.img", "1Z"],
    ["a.img", "16E"], ["a.img", "--", "-1"], ["-o", "cluster_size=1000", "a.img", "1M"],
    ["-o", "cluster_size=4M", "a.img", "1M"],
    ["-o", "cluster_size=foo", "a.img", "1M"], ["-o", "cluster_size=0", "a.img", "1M"],
    ["-o", "cluster_size=512", "a.img", "1T"],
    ["-o", "extended_l2=on,cluster_size=8k", "a.img", "1T"],
    ["-o", "extended_l2=on,compat=0.10", "a.img", "1T"],
    ["-o", "extended_l2=maybe", "a.img", "1M"], ["-o", "foo=1", "a.img", "1M"],
    ["-o", "compat=0.9", "a.img", "1M"],
    ["-o", "compat=0.10,lazy_refcounts=on", "a.img", "1M"],
    ["-o", "compat=0.10,refcount_bits=8", "a.img", "1M"],
    ["-o", "refcount_bits=3", "a.img", "1M"], ["-o", "refcount_bits=128", "a.img", "1M"],
    ["-o", "refcount_bits=foo", "a.img", "1M"], ["-o", "refcount_bits=0", "a.img", "1M"],
    ["-o", "preallocation=foo", "a.img", "1M"], ["-o", "compression_type=foo", "a.img", "1M"],
    ["-o", "cluster_size=128k,,foo", "a.img", "1M"], ["-o", "cluster_size=128k,", "a.img", "1M"],
    ["-f", "foo", "a.img", "1M"], ["/nonexistent/a.img", "1M"], ["-F", "qcow2", "a.img", "1M"],
  ]

  @Test("create does what the genuine tool does", arguments: cases)
  func create(arguments: [String]) throws {
    let ourJudge = try Judge()
    let genuineJudge = try Judge()
    let format = arguments.contains { $0.hasPrefix("-f") } ? [] : ["-f", "qcow2"]
    let ours = try ourJudge.ours(["create"] + format + arguments)
    let genuine = try genuineJudge.genuine("qemu-img", ["create"] + format + arguments)
    #expect(ours == genuine)
    let existed = FileManager.default.fileExists(atPath: genuineJudge.path("a.img"))
    #expect(FileManager.default.fileExists(atPath: ourJudge.path("a.img")) == existed)
    if existed {
      let same = try run("cmp", [ourJudge.path("a.img"), genuineJudge.path("a.img")], timeout: 120)
      #expect(same.status == 0, "\(same.stdout)\(same.stderr)")
    }
    // An external data file, where one was asked for.
    #expect(ourJudge.bytes("d") == genuineJudge.bytes("d"))
  }

  @Test(
    "an encrypted image without its passphrase is not made, and no file is left",
    arguments: [
      (["-o", "encrypt.format=luks", "a.img", "1M"], "Parameter 'encrypt.key-secret' is required for cipher")
    ])
  func unsupported(arguments: [String], text: String) throws {
    let judge = try Judge()
    let ours = try judge.ours(["create"] + arguments)
    #expect(ours.status == 1)
    #expect(ours.errors.contains(text))
    #expect(!FileManager.default.fileExists(atPath: judge.path("a.img")))
  }

  @Test("a refused request leaves an existing file alone")
  func existingFile() throws {
    let judge = try Judge()
    try Data("precious".utf8).write(to: URL(fileURLWithPath: judge.path("a.img")))
    #expect(try judge.ours(["create", "-o", "cluster_size=3", "a.img", "1M"]).status == 1)
    #expect(judge.bytes("a.img") == Data("precious".utf8))
  }

  @Test("a file that cannot be finished is removed")
  func fullDisk() throws {
    let judge = try Judge()
    // A limit on the size of files stands for a disk that is full.
    let script =
      "trap '' XFSZ; ulimit -f 100; exec \"$0\" create a.img 64G -o cluster_size=4k,preallocation=metadata"
    let result = try run("bash", ["-c", script, judge.qatlas], directory: judge.folder.path)
    #expect(result.status == 1)
    #expect(!FileManager.default.fileExists(atPath: judge.path("a.img")))
  }
}
