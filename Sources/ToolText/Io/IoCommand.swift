// The commands of `qatlas io` as a table: names, operands, and what each is for. Help, usage lines
// and the checks on the number of operands all come from here.

/// A command of the exerciser.
package struct IoCommand: Sendable {
  /// What a command does, whatever it is called.
  package enum Verb: Sendable {
    case read, readv, aioRead, write, writev, aioWrite, discard, aioDiscard, aioFlush, flush, map, alloc
    case length, truncate, info, open, reopen, close, sleep, raise, abort, help, quit
    case breakpoint, resume, waitBreak, removeBreak, zones
  }

  /// What it does.
  package var verb: Verb
  package var name: String
  /// A second name.
  package var alias: String?
  /// The synopsis behind the name.
  package var operands: String?
  /// One line for the list of commands.
  package var summary: String
  /// Words behind the name, options counted; nil for no upper limit.
  package var minimum: Int
  /// At most that many operands; nil for any number.
  package var maximum: Int?
  /// Option letters; a colon follows those with a value.
  package var options: String
  /// It is refused while no image is open.
  package var needsImage = true
  /// It changes the image.
  package var writes = false
  /// More for `help NAME`.
  package var details: [String] = []

  /// All commands by name.
  package static let all: [IoCommand] = [
    IoCommand(
      verb: .abort, name: "abort", summary: "simulate a program crash using abort(3)", minimum: 0,
      maximum: 0, options: "", needsImage: false),
    IoCommand(
      verb: .aioDiscard, name: "aio_discard", operands: "[-Cq] off len",
      summary: "asynchronously discards a number of bytes", minimum: 2, maximum: nil, options: "Cq",
      writes: true,
      details: [
        "As discard; a request that fails does not fail the command.", "-C  report numbers for programs",
        "-q  report nothing",
      ]),
    IoCommand(
      verb: .aioFlush, name: "aio_flush", summary: "completes all outstanding aio requests", minimum: 0,
      maximum: 0, options: ""),
    IoCommand(
      verb: .aioRead, name: "aio_read", operands: "[-Ciqrv] [-P pattern] off len [len..]",
      summary: "asynchronously reads a number of bytes", minimum: 2, maximum: nil, options: "CP:iqrv",
      details: [
        "As readv; a request that fails does not fail the command.", "-C  report numbers for programs",
        "-i  make no request, only say so", "-P  compare what was read with this byte", "-q  report nothing",
        "-r  accepted for scripts; has no effect", "-v  show the bytes",
      ]),
    IoCommand(
      verb: .aioWrite, name: "aio_write", operands: "[-Cfiqruz] [-P pattern] off len [len..]",
      summary: "asynchronously writes a number of bytes", minimum: 2, maximum: nil, options: "CfiP:qruz",
      writes: true,
      details: [
        "As writev; a request that fails does not fail the command.", "-C  report numbers for programs",
        "-f  flush behind the write", "-i  make no request, only say so", "-P  fill with this byte",
        "-q  report nothing", "-r  accepted for scripts; has no effect",
        "-u  with -z: clusters may be unmapped", "-z  write zeroes by marking, not by data",
      ]),
    IoCommand(
      verb: .alloc, name: "alloc", operands: "offset [count]",
      summary: "checks if offset is allocated in the file", minimum: 1, maximum: 2, options: ""),
    IoCommand(
      verb: .breakpoint, name: "break", operands: "event tag",
      summary: "sets a breakpoint on event and tags the stopped request as tag", minimum: 2, maximum: 2,
      options: ""),
    IoCommand(
      verb: .close, name: "close", alias: "c", summary: "close the current open file", minimum: 0, maximum: 0,
      options: ""),
    IoCommand(
      verb: .discard, name: "discard", alias: "d", operands: "[-Cq] off len",
      summary: "discards a number of bytes at a specified offset", minimum: 2, maximum: nil, options: "Cq",
      writes: true,
      details: [
        "Only whole clusters lose their data; what is left reads as zeroes.",
        "-C  report numbers for programs",
        "-q  report nothing",
      ]),
    IoCommand(
      verb: .flush, name: "flush", alias: "f", summary: "flush all in-core file state to disk",
      minimum: 0, maximum: 0, options: ""),
    IoCommand(
      verb: .help, name: "help", alias: "?", operands: "[command]", summary: "help for one or all commands",
      minimum: 0, maximum: 1, options: "", needsImage: false),
    IoCommand(
      verb: .info, name: "info", alias: "i",
      summary: "prints information about the current file",
      minimum: 0, maximum: 0, options: ""),
    IoCommand(
      verb: .length, name: "length", alias: "l", summary: "gets the length of the current file",
      minimum: 0, maximum: 0, options: ""),
    IoCommand(
      verb: .map, name: "map", operands: "", summary: "prints the allocated areas of a file", minimum: 0,
      maximum: 0,
      options: ""),
    IoCommand(
      verb: .open, name: "open", alias: "o",
      operands: "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
      summary: "open the file specified by path", minimum: 1, maximum: nil, options: "snCro:ki:t:d:U",
      needsImage: false,
      details: [
        "-C  copy on read; refused for images with a backing file", "-d  what discards do: unmap or ignore",
        "-i  threads, native or io_uring; checked, has no effect", "-k  the same as -i native",
        "-n  the same as -t none", "-o  options of the image, as with --image-opts", "-r  open read-only",
        "-s  keep all changes in memory", "-t  the cache mode",
        "-U  open although another program may be writing it",
      ]),
    IoCommand(
      verb: .quit, name: "quit", alias: "q", summary: "exit the program", minimum: 0,
      maximum: nil,
      options: "", needsImage: false),
    IoCommand(
      verb: .read, name: "read", alias: "r", operands: "[-abCqrv] [-P pattern [-s off] [-l len]] off len",
      summary: "reads a number of bytes at a specified offset", minimum: 2, maximum: nil,
      options: "abCl:pP:qrs:v",
      details: [
        "-C  report numbers for programs", "-l  with -P: how many bytes to compare",
        "-p  ignored, for old scripts", "-P  compare what was read with this byte", "-q  report nothing",
        "-r  accepted for scripts; has no effect",
        "-s  with -P: where in the data the comparison starts", "-v  show the bytes",
        "-b  read the machine state behind the disk",
      ]),
    IoCommand(
      verb: .readv, name: "readv", operands: "[-Cqrv] [-P pattern] off len [len..]",
      summary: "reads a number of bytes at a specified offset", minimum: 2, maximum: nil, options: "CP:qrv",
      details: [
        "The lengths add up to one request.", "-C  report numbers for programs",
        "-P  compare what was read with this byte", "-q  report nothing",
        "-r  accepted for scripts; has no effect", "-v  show the bytes",
      ]),
    IoCommand(
      verb: .removeBreak, name: "remove_break", operands: "tag", summary: "remove a breakpoint by tag",
      minimum: 1, maximum: 1, options: ""),
    IoCommand(
      verb: .reopen, name: "reopen", operands: "[(-r|-w)] [-c cache] [-o options]",
      summary: "reopens an image with new options", minimum: 0, maximum: nil, options: "rwc:o:",
      details: [
        "What is not named stays as it is.", "-c  another cache mode",
        "-o  other options of the image, as in --image-opts", "-r  read-only", "-w  for writing again",
      ]),
    IoCommand(
      verb: .resume, name: "resume", operands: "tag", summary: "resumes the request tagged as tag",
      minimum: 1, maximum: 1, options: ""),
    IoCommand(
      verb: .raise, name: "sigraise", operands: "signal", summary: "raises a signal", minimum: 1, maximum: 1,
      options: "", needsImage: false, details: ["The signal by its number, 15 for SIGTERM."]),
    IoCommand(
      verb: .sleep, name: "sleep", summary: "waits for the given value in milliseconds", minimum: 1,
      maximum: 1, options: "", needsImage: false),
    IoCommand(
      verb: .truncate, name: "truncate", alias: "t", operands: "[-m prealloc_mode] off",
      summary: "truncates the current file at the given offset", minimum: 1, maximum: 3, options: "m:",
      writes: true),
    IoCommand(
      verb: .waitBreak, name: "wait_break", operands: "tag", summary: "waits for the suspension of a request",
      minimum: 1, maximum: 1, options: ""),
    IoCommand(
      verb: .write, name: "write", alias: "w", operands: "[-bcCfnqruz] [-P pattern | -s source_file] off len",
      summary: "writes a number of bytes at a specified offset", minimum: 2, maximum: nil,
      options: "bcCfnpP:qrs:uz",
      writes: true,
      details: [
        "Without -P, -s and -z the bytes are 0xcd.", "-C  report numbers for programs",
        "-c  compress: whole clusters that have no place in the file yet", "-f  flush behind the write",
        "-n  with -z: do not fall back to writing zero bytes",
        "-p  ignored, for old scripts", "-P  fill with this byte", "-q  report nothing",
        "-r  accepted for scripts; has no effect",
        "-s  fill with the bytes of this file, again and again", "-u  with -z: clusters may be unmapped",
        "-z  write zeroes by marking, not by data",
        "-b  write the machine state behind the disk",
      ]),
    IoCommand(
      verb: .writev, name: "writev", operands: "[-Cfqr] [-P pattern] off len [len..]",
      summary: "writes a number of bytes at a specified offset", minimum: 2, maximum: nil, options: "CfP:qr",
      writes: true,
      details: [
        "The lengths add up to one request. Without -P the bytes are 0xcd.",
        "-C  report numbers for programs", "-f  flush behind the write", "-P  fill with this byte",
        "-q  report nothing", "-r  accepted for scripts; has no effect",
      ]),
    IoCommand(
      verb: .zones, name: "zone_append", alias: "zap", operands: "offset len [len..]",
      summary: "append write a number of bytes at a specified offset", minimum: 3, maximum: 4, options: ""),
    IoCommand(
      verb: .zones, name: "zone_close", alias: "zc", operands: "offset len",
      summary: "close a range of zones in zone block device", minimum: 2, maximum: 2, options: ""),
    IoCommand(
      verb: .zones, name: "zone_finish", alias: "zf", operands: "offset len",
      summary: "finish a range of zones in zone block device", minimum: 2, maximum: 2, options: ""),
    IoCommand(
      verb: .zones, name: "zone_open", alias: "zo", operands: "offset len",
      summary: "explicit open a range of zones in zone block device", minimum: 2, maximum: 2, options: ""),
    IoCommand(
      verb: .zones, name: "zone_report", alias: "zrp", operands: "offset number",
      summary: "report zone information", minimum: 2, maximum: 2, options: ""),
    IoCommand(
      verb: .zones, name: "zone_reset", alias: "zrs", operands: "offset len",
      summary: "reset a zone write pointer in zone block device", minimum: 2, maximum: 2, options: ""),
  ]

  /// The command of a name or a second name.
  package static func named(_ name: String) -> IoCommand? { byName[name] }

  private static let byName = Dictionary(
    all.flatMap { command in [command.name, command.alias].compactMap { $0 }.map { ($0, command) } },
    uniquingKeysWith: { first, _ in first })

  /// "read [-abCqrv] … -- reads a number of bytes …".
  package var usage: String { "\(name)\(operands.map { " " + $0 } ?? "") -- \(summary)\n" }

  /// What `help NAME` prints.
  package var help: String {
    details.isEmpty ? usage : usage + "\n" + details.map { " \($0)\n" }.joined() + "\n"
  }
}
