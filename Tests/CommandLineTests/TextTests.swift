// The small texts by themselves: sizes, times, dumps, escapes and option lists.

import Cartography
import Explorer
import Foundation
import Qcow
import QcowFormat
import TestSupport
import Testing
import ToolText

@Suite(.tags(.genuine)) struct TextTests {
  @Test(
    "sizes with three decimals",
    arguments: [
      (0, "0 bytes"), (1, "1 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1025, "1.001 KiB"),
      (10239, "9.999 KiB"),
      (1_048_575, "1023.999 KiB"), (1_114_112, "1.062 MiB"), (9_371_648, "8.938 MiB"),
      (1_073_741_824, "1 GiB"),
      (67_108_864_000, "62.500 GiB"), (1_234_567_890_123, "1.123 TiB"), (UInt64(Int64.max), "8 EiB"),
    ] as [(UInt64, String)])
  func sizes(bytes: UInt64, text: String) { #expect(IoFormat.size(bytes) == text) }

  @Test("times of reports")
  func times() {
    let short = IoFormat.Report(verb: "read", offset: 7, count: 65536, seconds: 0.5)
    #expect(
      short.human
        == "read 65536/65536 bytes at offset 7\n64 KiB, 1 ops; 00.50 sec (128 KiB/sec and 2.0000 ops/sec)\n")
    #expect(short.machine == "65536,1,0:00:00.50,131072.000,2.000\n")
    let long = IoFormat.Report(verb: "wrote", offset: 0, count: 0, seconds: 3723.25)
    #expect(long.machine.hasPrefix("0,1,1:02:03.25,0.000,"))
    let none = IoFormat.Report(verb: "wrote", offset: 0, count: 1, seconds: 0)
    #expect(none.human.contains("00.00 sec") && !none.human.contains("inf"))
  }

  @Test(
    "control characters never come out raw",
    arguments: [
      ("plain ü 漢", "plain ü 漢", #""plain \u00FC \u6F22""#), ("\u{1b}[1m", "\\x1b[1m", #""\u001B[1m""#),
      ("a\nb\tc", "a\\x0ab\\x09c", #""a\nb\tc""#), ("\u{9b}2J", "\\xc2\\x9b2J", #""\u009B2J""#),
      ("\u{7f}", "\\x7f", #""\u007F""#),
      ("a\u{202e}b\u{2066}", "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6", #""a\u202Eb\u2066""#),
      ("\u{61c}\u{200f}\u{ad}", "\\xd8\\x9c\\xe2\\x80\\x8f\\xc2\\xad", #""\u061C\u200F\u00AD""#),
      (
        "\u{2028}\u{feff}\u{e0041}", "\\xe2\\x80\\xa8\\xef\\xbb\\xbf\\xf3\\xa0\\x81\\x81",
        #""\u2028\uFEFF\uDB40\uDC41""#
      ),
      ("\u{10ffe9}", "\\xe9", #""\uFFFD""#),
      ("\"\\", "\"\\", #""\"\\""#), ("😀", "😀", #""\uD83D\uDE00""#),
    ])
  func escapes(text: String, human: String, json: String) {
    #expect(Escaping.human(text) == human)
    #expect(Escaping.json(text) == json)
  }

  @Test("option lists: doubled commas, flags, the last of equal names")
  func options() throws {
    let request = try CreateRequest(
      file: "x", size: "1M", lists: ["cluster_size=4k,extended_l2", "cluster_size=32k,refcount_bits=0x20"])
    #expect(request.options.clusterSize == 32768)
    #expect(request.options.extendedL2)
    #expect(request.options.refcountBits == 32)
    #expect(try CreateRequest.items(of: "a=b,,c,d") == ["a=b,c", "d"])
    #expect(throws: CreateRequest.Refusal.self) { try CreateRequest.items(of: ",a") }
    // Marks that join the comma before them are bytes like others.
    let marked = try CreateRequest.items(of: "a=,,\u{301}b,\u{301}c").map { Array($0.utf8) }
    #expect(marked == ["a=,\u{301}b", "\u{301}c"].map { Array($0.utf8) })
    let named = try CreateRequest(
      file: "x", size: "1M", lists: ["backing_file=\u{301},,\u{301}x,backing_fmt=raw"])
    #expect(
      named.announcement.utf8.contains(0xcc)
        && named.options.backingFile?.utf8.elementsEqual("\u{301},\u{301}x".utf8) == true)
    #expect(named.announcement.unicodeScalars.filter { $0 == "," }.count == 3)
  }

  @Test("open options say how the image and its files are opened")
  func openOptions() throws {
    let request = try OpenRequest(
      options: "driver=qcow2,file.filename=a,,b,discard-no-unref=on,l2-cache-size=1M", readOnly: false,
      cache: nil, discard: "ignore")
    #expect(request.file == "a,b")
    #expect(request.options.discardNoUnref)
    #expect(request.options.discard == .ignore)
    #expect(request.options.l2CacheSize == 1 << 20)
    let other = try OpenRequest(
      options:
        "driver=qcow2,file.filename=a,detect-zeroes=unmap,lazy-refcounts=on,data-file.filename=d,force-share=on,"
        + "overlap-check=none,overlap-check.active-l1=on,file.locking=off", readOnly: true, cache: nil,
      discard: nil)
    #expect(other.options.detectZeroes == .unmap)
    #expect(other.options.lazyRefcounts == true)
    #expect(other.options.overlapChecks == .activeL1)
    #expect(other.policy.dataFile == "d")
    #expect(other.policy.forcesShare)
    #expect(!other.policy.takesLocks)
    for bad in [
      "overlap-check=much", "overlap-check.x=on", "detect-zeroes=maybe",
      "overlap-check=all,overlap-check.template=none",
    ] {
      #expect(throws: CreateRequest.Refusal.self) {
        try OpenRequest(
          options: "driver=qcow2,file.filename=a," + bad, readOnly: false, cache: nil, discard: nil)
      }
    }
  }

  @Test("random bytes are no LUKS header")
  func luks() {
    var random = SplitMix64(seed: 5)
    for count in [0, 8, 591, 592, 4096] {
      var bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      #expect((try? LUKSHeader(parsing: bytes)) == nil)
      bytes.replaceSubrange(
        0..<min(8, count), with: [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 1].prefix(count))
      #expect(((try? LUKSHeader(parsing: bytes)) != nil) == (count >= 592))
    }
  }
}
