// Races on tables: 1 TiB with every L2 table present, 128 MiB of tables and nothing else.

extension Race {
  private static func terabyte(_ lab: Lab) throws(BenchError) {
    try lab.run(
      "qemu-img",
      ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", lab.path("terabyte.qcow2"), "1T"])
  }

  static var map: Race {
    Race(
      name: "map", purpose: "map --output=json of 1 TiB with every L2 table present", target: 5,
      prepare: { (lab) throws(BenchError) in try terabyte(lab) },
      genuine: { lab in
        Invocation("qemu-img", ["map", "-f", "qcow2", "--output=json", lab.path("terabyte.qcow2")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["map", "-f", "qcow2", "--output", "json", lab.path("terabyte.qcow2")])
      },
      comparesOutput: true)
  }

  static var check: Race {
    Race(
      name: "check", purpose: "check of 1 TiB with every L2 table present", target: 5,
      prepare: { (lab) throws(BenchError) in try terabyte(lab) },
      genuine: { lab in Invocation("qemu-img", ["check", "-f", "qcow2", lab.path("terabyte.qcow2")]) },
      ours: { lab in Invocation(lab.qatlas, ["check", "-f", "qcow2", lab.path("terabyte.qcow2")]) },
      comparesOutput: true)
  }
}
