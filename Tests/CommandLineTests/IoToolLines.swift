// Seeded command lines of `qemu-io`: options, images and commands with good and bad words, of which two
// runs of one seed give the same.

import TestSupport

enum IoToolLines {
  private static let images = [
    "a.qcow2", "a.qcow2", "a.qcow2", "r.raw", "top.qcow2", "snap.qcow2", "comp.qcow2", "ext.qcow2",
    "none.qcow2",
    "file:a.qcow2", #"json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}"#,
    #"json:{"file.filename":"r.raw","driver":"raw"}"#,
    #"json:{"driver":"qcow2","file.filename":"top.qcow2","file.driver":"file","backing":null}"#,
    #"json:{"driver":"qcow2""#,
  ]
  private static let optionStrings = [
    "driver=qcow2,file.filename=a.qcow2", "driver=raw,file.filename=r.raw", "file.filename=a.qcow2",
    "driver=qcow2,file.driver=file,file.filename=ext.qcow2,discard=unmap",
    "driver=qcow2,file.filename=top.qcow2,backing.driver=raw,backing.file.filename=r.raw",
    "driver=qcow2,file.filename=a.qcow2,lazy-refcounts=on", "driver=bad,file.filename=a.qcow2",
    "driver=qcow2,file.filename=none", "driver=qcow2,file.filename=a.qcow2,bad=1", "driver=qcow2",
    "driver=qcow2,file.filename=a.qcow2,read-only=on", "driver=raw,file.filename=a.qcow2",
    "driver=qcow2,file.filename=a.qcow2,discard=x", "driver=qcow2,file.filename=a.qcow2,overlap-check=none",
    "driver=qcow2,file.filename=a.qcow2,cache.direct=x", "driver=file,filename=r.raw",
  ]

  /// The words behind the name of the tool.
  static func seeded(_ seed: UInt64) -> [String] {
    var words = SeededWords(random: SplitMix64(seed: seed))
    var line: [String] = []
    let options = [
      "-r", "-U", "-s", "-n", "-m", "--read-only", "-t none", "-t writethrough", "-t unsafe",
      "-t bad", "-d unmap", "-d ignore", "-d off", "-d bad", "-i threads", "-i bad", "-f qcow2",
      "-f raw",
      "-fqcow2", "-f bad",
    ]
    for option in words.some(2, options) where !line.contains(where: { $0.prefix(2) == option.prefix(2) }) {
      line += option.split(separator: " ").map(String.init)
    }
    let usesOptions = words.isOne(in: 6)
    if usesOptions { line.append("--image-opts") }
    for _ in 0...words.random.below(3) {
      let command = command(&words)
      line += ["-c", command]
      // What is done behind one's back is told at no certain time.
      if command.hasPrefix("aio_") { line += ["-c", "aio_flush"] }
    }
    let image = usesOptions ? words.one(optionStrings) : words.one(images)
    if words.isOne(in: 5) { line.insert(image, at: 0) } else { line.append(image) }
    return line
  }

  private static func command(_ words: inout SeededWords) -> String {
    let offset = words.one([
      "0", "64k", "1M", "100k", "512", "3", "2M", "1984k", "4M", "1.5M", "8M", "x", "-1", "1G",
    ])
    let count = words.one(["512", "4k", "64k", "100k", "1", "3", "1M", "0", "2G", "x", "-1", "128k"])
    let pattern = words.one(["-P 0", "-P 7", "-P 255", "-P 0xcd", "-P 256", "-P x", ""])
    let flags: [String]
    let verb: String
    switch words.random.below(20) {
    case 0...4:
      verb = words.one(["write", "w"])
      flags = words.some(3, ["-q", "-C", "-z", "-u", "-f", "-n", "-p", "-c", "-x", "-r", pattern, pattern])
    case 5...8:
      verb = words.one(["read", "r"])
      flags = words.some(
        3, ["-q", "-v", "-C", "-l 4", "-s 4", "-s 1M", "-r", "-x", pattern, pattern, "-l 4 -s 2 -P 1"])
    case 9, 10:
      verb = words.one(["discard", "d"])
      flags = words.some(2, ["-q", "-C", "-x"])
    case 11:
      return
        ([words.one(["readv", "writev"])] + words.some(2, ["-q", "-v", pattern]) + [offset, count, count])
        .filter { !$0.isEmpty }.joined(separator: " ")
    case 12:
      verb = words.one(["aio_read", "aio_write", "aio_discard"])
      flags = words.some(2, ["-q", "-C", "-z", "-u", "-v", pattern])
    case 13:
      return words.one([
        "length", "l", "flush", "f", "aio_flush", "length x", "info", "i", "info 1", "map", "map 1",
      ])
    case 14: return "alloc \(offset)" + words.one(["", " \(count)", " \(count) 1"])
    case 15:
      return "truncate "
        + words.some(2, ["-m off", "-m full", "-m metadata", "-m bad", "-x"]).joined(separator: " ") + " "
        + words.one(["1M", "5M", "6000k", "0", "x", "1000"])
    case 16:
      return words.one([
        "close", "open a.qcow2", "open -r a.qcow2", "open -o driver=raw r.raw", "open", "open -x",
        "open none",
        "open -n -s a.qcow2", "reopen -r", "reopen", "reopen -w", "reopen -c none", "reopen -c bad",
        "reopen -x",
        "reopen -o lazy-refcounts=on", "reopen 1",
      ])
    case 17:
      return words.one([
        "help read", "help write", "help", "help bad", "?", "help length", "help map", "help open",
        "help reopen",
        "help discard", "help readv", "help writev", "help aio_read", "help aio_write", "help aio_discard",
        "help alloc", "help truncate", "help flush", "help aio_flush", "help info", "help close", "help quit",
        "help sleep", "help sigraise", "help abort", "help break", "help resume", "help wait_break",
        "help remove_break", "help help", "help read write",
      ])
    case 18:
      return words.one([
        "break pwritev x", "break bad x", "resume x", "remove_break x", "break", "resume",
        "quit",
        "q", "quit 1", "sleep 0", "sleep", "sigraise", "sigraise x", "bad", "", "  ", "read", "write 0",
        "zone_report 0 1",
        "zone_open 0 1", "za 0 0", "zrp 0 1", "zinfo",
      ])
    default:
      verb = words.one([
        "write -z", "write -z -u", "write -b", "read -b", "write -c", "write -s r.raw", "write -s none",
      ])
      flags = words.some(2, ["-q", pattern, "-n"])
    }
    return ([verb] + flags + [offset, count] + (words.isOne(in: 15) ? ["1"] : []))
      .filter { !$0.isEmpty }.joined(separator: " ")
  }
}
