// What holes in files decide: which clusters of a layer below count as zeroes, and what is read where a disk grows over
// a compressed cluster. The genuine tools look at the same holes.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct SparseFileTests {
  /// Both tools do a line on copies of the same files, which keep their holes.
  private func both(_ tool: String, _ words: [String], _ root: TemporaryDirectory) throws {
    let program = root.path(tool)
    try FileManager.default.createSymbolicLink(
      atPath: program, withDestinationPath: try builtProduct("qatlas"))
    for (folder, tool) in [("genuine", tool), ("ours", program)] {
      try succeed("cp", ["-a", "--sparse=auto", root.path("made"), root.path(folder)])
      let result = try run(tool, words, directory: root.path(folder))
      #expect(result.status == 0, "\(folder): \(result.stdout)\(result.stderr)")
    }
  }

  private func make(_ lines: [[String]]) throws -> TemporaryDirectory {
    let root = try TemporaryDirectory(inMemory: true)
    try FileManager.default.createDirectory(atPath: root.path("made"), withIntermediateDirectories: true)
    for line in lines {
      let result = try run(line[0], Array(line.dropFirst()), directory: root.path("made"))
      guard result.status == 0 else { throw TestFailure("\(line): \(result.stderr)") }
    }
    return root
  }

  @Test("zeroes written into a part of a cluster are no data above clusters that lie in holes")
  func zeroesAboveHoles() throws {
    let root = try make([
      ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", "base", "1344k"],
      ["qemu-io", "-f", "qcow2", "-c", "write -q -P 180 1184k 64k", "base"],
      ["cp", "--sparse=always", "base", "sparse"], ["mv", "sparse", "base"],
      ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "t", "1088k"],
    ])
    try both("qemu-io", ["-f", "qcow2", "-c", "write -q -z 343k 174k", "t"], root)
    let (a, b) = (try ToolPair.contents(root.path("genuine")), try ToolPair.contents(root.path("ours")))
    #expect(a["t"] == b["t"])
    #expect(a["t"].map { $0.count < 400_000 } == true, "the genuine tool writes data as well")
  }

  /// The genuine tool loses the cluster, which then reads as zeroes.
  @Test(
    "a compressed cluster at the end of a disk with subclusters is still there when the disk has grown",
    arguments: ["metadata", "falloc", "full", "off"])
  func compressedEnd(preallocation: String) throws {
    let root = try make([
      ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=16k,extended_l2=on", "t", "844k"],
      ["qemu-io", "-f", "qcow2", "-c", "write -q -c -P 207 832k 12k", "t"],
    ])
    let image = root.path("made/t")
    try succeed(
      try builtProduct("qatlas"), ["resize", "--preallocation=" + preallocation, image, "955k"])
    try succeed(
      "qemu-io",
      ["-r", "-f", "qcow2", "-c", "read -q -P 207 832k 12k", "-c", "read -q -P 0 844k 111k", image])
    try succeed("qemu-img", ["check", image])
  }

  @Test("zeroes that a copy leaves out of a new cluster are holes in its file")
  func holesOfCopies() throws {
    let root = try make([
      ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "s", "1M"],
      ["qemu-io", "-f", "qcow2", "-c", "write -q -P 5 12k 4k", "-c", "write -q -P 6 336k 12k", "s"],
    ])
    try both("qemu-img", ["convert", "-O", "qcow2", "s", "x"], root)
    func blocks(_ folder: String) throws -> [String] {
      let map = try succeed("qemu-img", ["map", "-f", "raw", "--output=json", root.path(folder) + "/x"])
      return map.split(separator: "\n").map(String.init)
    }
    #expect(try blocks("genuine") == blocks("ours"))
  }
}
