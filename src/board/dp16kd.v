// A block RAM of an ECP5 as synthesis uses it for this project: both ports of one width, rising clocks, no output register, no chip select, no reset, empty at
// the start. It stands in for the primitive when a netlist is simulated; `netlist.rs` refuses a netlist that uses more.
module DP16KD(
   input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
   input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
   input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
   output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
   input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
   input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
   input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
   output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
   parameter DATA_WIDTH_A = 18;
   parameter DATA_WIDTH_B = 18;
   parameter WRITEMODE_A = "NORMAL";
   parameter WRITEMODE_B = "NORMAL";

   wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
   wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
   wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
   wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
   reg [17:0] doa = 0, dob = 0;
   assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = doa;
   assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = dob;

   localparam WIDTH = DATA_WIDTH_A;
   // Address bits below a word; two or four of them choose bytes to write instead, if words have so many.
   localparam LOW = WIDTH == 36 ? 5 : WIDTH == 18 ? 4 : WIDTH == 9 ? 3 : WIDTH == 4 ? 2 : WIDTH == 2 ? 1 : 0;
   reg [WIDTH - 1:0] words [0:(1 << (14 - LOW)) - 1];

   generate
      if (WIDTH == 36) begin : wide
         // One port writes, the other reads.
         wire [35:0] mask = {{9{ada[3]}}, {9{ada[2]}}, {9{ada[1]}}, {9{ada[0]}}};
         always @(posedge CLKA) if (CEA & WEA) words[ada[13:5]] <= {dib, dia} & mask | words[ada[13:5]] & ~mask;
         always @(posedge CLKB) if (CEB) {dob, doa} <= words[adb[13:5]];
      end else begin : narrow
         wire [17:0] bytes_a = {{9{ada[1]}}, {9{ada[0]}}};
         wire [17:0] bytes_b = {{9{adb[1]}}, {9{adb[0]}}};
         wire [WIDTH - 1:0] mask_a = WIDTH == 18 ? bytes_a : ~0;
         wire [WIDTH - 1:0] mask_b = WIDTH == 18 ? bytes_b : ~0;
         wire [WIDTH - 1:0] old_a = words[ada[13:LOW]];
         wire [WIDTH - 1:0] old_b = words[adb[13:LOW]];
         wire [WIDTH - 1:0] new_a = dia[WIDTH - 1:0] & mask_a | old_a & ~mask_a;
         wire [WIDTH - 1:0] new_b = dib[WIDTH - 1:0] & mask_b | old_b & ~mask_b;
         always @(posedge CLKA) if (CEA) begin
            if (WEA) words[ada[13:LOW]] <= new_a;
            if (!WEA | WRITEMODE_A == "READBEFOREWRITE") doa <= old_a;
            else if (WRITEMODE_A == "WRITETHROUGH") doa <= new_a;
         end
         always @(posedge CLKB) if (CEB) begin
            if (WEB) words[adb[13:LOW]] <= new_b;
            if (!WEB | WRITEMODE_B == "READBEFOREWRITE") dob <= old_b;
            else if (WRITEMODE_B == "WRITETHROUGH") dob <= new_b;
         end
      end
   endgenerate
endmodule
