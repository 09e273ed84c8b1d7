// Images of all kinds that are worth damaging, made by the genuine tools.

import Foundation
import TestSupport
import Testing

/// How to make an image with the genuine tools.
struct ImageRecipe: CustomTestStringConvertible, Sendable {
  var name: String
  var options: String
  var size: String
  /// Commands of `qemu-io`; those that start with "!" are for `qemu-img`, with "@" for the file.
  var steps: [String]

  var testDescription: String { name }

  func make(_ judge: Judge, as file: String) throws {
    let list = options.isEmpty ? [] : ["-o", options.replacingOccurrences(of: "@", with: file)]
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2"] + list + [file, size])
    for step in steps {
      if step.hasPrefix("!") {
        let words = step.dropFirst().split(separator: " ").map { $0 == "@" ? file : String($0) }
        try judge.must("qemu-img", words)
      } else {
        try judge.must("qemu-io", ["-f", "qcow2", "-c", step, file])
      }
    }
  }

  private static let writes = ["write -P 1 0 12k", "write -z 300k 20k", "write -P 3 700k 30k"]
  private static let packed = ["write -c -P 5 128k 64k", "write -c -P 6 192k 64k"]
  private static let snapshots = [
    "!snapshot -c one @", "write -P 7 8k 8k", "!snapshot -c two @", "write -P 8 64k 20k",
    "write -P 8 900k 20k",
  ]
  private static let bitmaps = [
    "!bitmap --add @ b0", "!bitmap --add --disable @ bitmap1", "write -P 9 400k 20k",
  ]
  private static let small = ["write -c -P 5 128k 4k", "write -c -P 6 132k 4k"]

  /// Images of all kinds that are worth damaging.
  static let all: [ImageRecipe] = [
    ImageRecipe(name: "512", options: "cluster_size=512", size: "1M", steps: writes + snapshots),
    ImageRecipe(name: "512, 1 bit", options: "cluster_size=512,refcount_bits=1", size: "1M", steps: writes),
    ImageRecipe(
      name: "4k", options: "cluster_size=4096", size: "1M", steps: writes + small + snapshots + bitmaps),
    ImageRecipe(
      name: "4k, 8 bits", options: "cluster_size=4096,refcount_bits=8", size: "1M",
      steps: writes + small + snapshots),
    ImageRecipe(
      name: "4k, 2 bits", options: "cluster_size=4096,refcount_bits=2", size: "1M", steps: writes + snapshots),
    ImageRecipe(
      name: "1k, 64 bits", options: "cluster_size=1024,refcount_bits=64", size: "1M",
      steps: writes + snapshots),
    ImageRecipe(
      name: "2k, 32 bits, preallocated", options: "cluster_size=2048,refcount_bits=32,preallocation=metadata",
      size: "1M", steps: ["write -P 1 0 12k", "write -z 300k 20k", "discard 700k 30k"] + snapshots),
    ImageRecipe(name: "64k", options: "", size: "64M", steps: writes + packed + snapshots + bitmaps),
    ImageRecipe(
      name: "64k, version 2", options: "compat=0.10", size: "64M", steps: [writes[0]] + packed + snapshots),
    ImageRecipe(
      name: "extended 16k", options: "extended_l2=on,cluster_size=16k", size: "2M",
      steps: writes + ["write -c -P 5 128k 16k", "write -c -P 6 144k 16k"] + snapshots + bitmaps),
    ImageRecipe(
      name: "extended 64k", options: "extended_l2=on", size: "64M", steps: writes + packed + snapshots),
    ImageRecipe(
      name: "2M, 4 bits", options: "cluster_size=2M,refcount_bits=4", size: "64M",
      steps: ["write -P 1 0 12k", "write -P 2 6M 3M", "write -c -P 5 12M 2M"]),
    ImageRecipe(name: "data file", options: "cluster_size=4096,data_file=@.data", size: "1M", steps: writes),
    ImageRecipe(
      name: "raw data file, extended",
      options: "cluster_size=16k,extended_l2=on,data_file=@.data,data_file_raw=on", size: "1M", steps: writes),
  ]
}
