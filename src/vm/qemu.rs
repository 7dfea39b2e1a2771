//! QEMU's command line and the kernel's.

use clap::ValueEnum;
use cxlmem_protocol::identity;
use serde_json::json;

/// What backs the device's memory as the guest's processors see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Specific-purpose memory: a range of the firmware's memory map, marked for drivers, that the device reads and writes by DMA
    Spm,
    /// The device's BAR 2, mapped but for its first 2 MiB
    Bar,
    /// None: the guest reaches the device's memory through the trapped window alone
    None,
}

impl Mode {
    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Spm => "spm",
            Mode::Bar => "bar",
            Mode::None => "none",
        }
    }
}

/// Size of the specific-purpose range, MiB: the capacity of configuration `sim-ext`.
pub const SPM_MIB: u64 = 512;
/// Least memory of a guest, MiB: with less, firmware puts the 64-bit BAR below 4 GiB, where it is mapped uncached.
pub const LEAST_MIB: u64 = 2049;

/// A serial port with somebody at its other end. Paths are those inside the root.
#[derive(Clone, Debug)]
pub struct Port {
    /// Socket on which QEMU listens; the guest starts when somebody is there.
    pub socket: String,
    /// File for all that the guest writes.
    pub file: String,
}

/// A machine to start. Paths are those inside the root.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Mapped mode.
    pub mode: Mode,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// Kernel.
    pub kernel: String,
    /// Initramfs.
    pub initramfs: String,
    /// Words for the kernel command line.
    pub words: Vec<String>,
    /// Socket of the device server; no device without.
    pub socket: Option<String>,
    /// Where the first serial port goes, and what the guest reads from it comes from; this terminal if none.
    pub output: Option<Port>,
    /// File for the kernel's log, from the second serial port.
    pub log: String,
    /// Whether a person types at the first port.
    pub is_interactive: bool,
}

impl Machine {
    /// QEMU's command line.
    pub fn command(&self) -> Vec<String> {
        let memory = self.memory_mib;
        let mut args: Vec<String> = ["qemu-system-x86_64", "-nodefaults", "-no-user-config"]
            .map(String::from)
            .to_vec();
        let mut add = |words: &str| args.extend(words.split(' ').map(String::from));
        add("-machine q35 -cpu max -accel tcg,thread=multi -smp 2");
        add("-display none -no-reboot");
        match self.mode {
            Mode::Spm => add(&format!("-m {memory}M,slots=4,maxmem=16G -bios qboot.rom")),
            _ => add(&format!("-m {memory}M")),
        }
        // The device maps the guest's memory by the descriptors that come with it.
        add(&format!(
            "-object memory-backend-memfd,id=ram0,size={memory}M,share=on"
        ));
        add("-numa node,nodeid=0,cpus=0-1,memdev=ram0 -numa node,nodeid=1");
        if self.mode == Mode::Spm {
            add(&format!(
                "-object memory-backend-memfd,id=sp0,size={SPM_MIB}M,share=on"
            ));
            add("-device sp-mem,id=spm0,memdev=sp0,node=1");
        }
        if let Some(socket) = &self.socket {
            // At 2.5 GT/s the port does not report whether its link is active; faster ones say that they do and never set the bit, so that the kernel
            // gives up after a reset of the link.
            add("-device pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1,pref64-reserve=2G,x-speed=2_5");
            let device = json!({
                "driver": "vfio-user-pci",
                "id": "cxlmem0",
                "bus": "rp0",
                "socket": {"type": "unix", "path": socket},
            });
            args.extend(["-device".to_string(), device.to_string()]);
        }
        let first = match &self.output {
            Some(Port { socket, file }) => {
                format!("socket,path={socket},server=on,wait=on,logfile={file}")
            }
            // A shell gets Ctrl-C; a command is ended by it.
            None if self.is_interactive => "stdio,signal=off".into(),
            None => "stdio".into(),
        };
        for (id, what) in [
            ("tty0", &first),
            ("log0", &format!("file,path={}", self.log)),
        ] {
            let (kind, rest) = what.split_once(',').unwrap_or((what, ""));
            let rest = if rest.is_empty() {
                String::new()
            } else {
                format!(",{rest}")
            };
            args.extend(["-chardev".into(), format!("{kind},id={id}{rest}")]);
            args.extend(["-serial".into(), format!("chardev:{id}")]);
        }
        args.extend(["-kernel".into(), self.kernel.clone()]);
        args.extend(["-initrd".into(), self.initramfs.clone()]);
        args.extend(["-append".into(), self.kernel_command_line()]);
        args
    }

    /// The kernel's command line. The guest's `/init` reads the words that start with `cxlmem.`.
    fn kernel_command_line(&self) -> String {
        let mut words = vec![
            "console=ttyS1,115200".to_string(),
            "ignore_loglevel".into(),
            // What the guest itself writes to the log is not to be dropped.
            "printk.devkmsg=on".into(),
            "panic=-1".into(),
            // Its probe prints to the first port.
            "edd=off".into(),
            format!("cxlmem.mode={}", self.mode.name()),
            format!(
                "cxlmem.device={}",
                if self.socket.is_some() { "yes" } else { "no" }
            ),
            format!(
                "cxlmem.id=0x{:04x}:0x{:04x}",
                identity::VENDOR_ID,
                identity::DEVICE_ID
            ),
            format!("cxlmem.spm_mib={SPM_MIB}"),
        ];
        if self.is_interactive {
            words.push("cxlmem.tty=yes".into());
        }
        words.extend(self.words.iter().cloned());
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(mode: Mode) -> Machine {
        Machine {
            mode,
            memory_mib: 3072,
            kernel: "/vm/kernels/7.3/vmlinuz".into(),
            initramfs: "/vm/run/1/initramfs".into(),
            words: vec!["cxlmem.run=/run.sh".into()],
            socket: Some("/vm/run/1/socket".into()),
            output: None,
            log: "/vm/run/1/kernel.log".into(),
            is_interactive: false,
        }
    }

    /// One option with its value a line.
    fn lines(machine: &Machine) -> String {
        let mut text = String::new();
        for arg in machine.command() {
            if arg.starts_with('-') {
                text.push('\n');
            } else if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&arg);
        }
        text
    }

    #[test]
    fn specific_purpose_memory() {
        insta::assert_snapshot!("spm", lines(&machine(Mode::Spm)));
    }

    #[test]
    fn bar_for_a_person() {
        let machine = Machine {
            is_interactive: true,
            ..machine(Mode::Bar)
        };
        insta::assert_snapshot!("bar", lines(&machine));
    }

    #[test]
    fn no_device_and_output_in_a_file() {
        let machine = Machine {
            socket: None,
            output: Some(Port {
                socket: "/vm/run/1/port".into(),
                file: "/vm/run/1/output".into(),
            }),
            ..machine(Mode::None)
        };
        insta::assert_snapshot!("none", lines(&machine));
    }
}
