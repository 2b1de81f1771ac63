package homeassistant

import (
	"slices"
	"strings"
)

// class is a device class of Home Assistant's sensors: its allowed units ("": no unit) and
// state classes. The lists are those of Home Assistant's documentation of 2026
// (developers.home-assistant.io, "Sensor entity").
type class struct{ units, states []string }

func list(s string) []string { return strings.Split(s, " ") }

var (
	measured = []string{"measurement"}
	summed   = []string{"total", "total_increasing"}
	anyState = []string{"measurement", "total", "total_increasing"}

	energyUnits = list("J kJ MJ GJ mWh Wh kWh MWh GWh TWh cal kcal Mcal Gcal")
	lengths     = list("mm cm m km in ft yd mi nmi")
	gasParts    = list("ppb ppm")
	perVolume   = list("µg/m³")
	pressures   = list("mPa Pa hPa kPa bar cbar mbar mmHg inHg inH₂O psi")
	speeds      = list("ft/s in/s km/h kn m/min m/s mm/s mph Beaufort")
	rainfall    = list("in/d in/h mm/d mm/h")
	volumes     = append(list("L mL m³ ft³ CCF MCF gal"), "fl. oz.")
)

var stateClasses = []string{"measurement", "measurement_angle", "total", "total_increasing"}

var classes = map[string]class{
	"absolute_humidity":                {list("g/m³ mg/m³"), measured},
	"apparent_power":                   {list("mVA VA kVA"), measured},
	"aqi":                              {[]string{""}, measured},
	"area":                             {list("m² cm² km² mm² in² ft² yd² mi² ac ha"), anyState},
	"atmospheric_pressure":             {pressures, measured},
	"battery":                          {list("%"), measured},
	"blood_glucose_concentration":      {list("mg/dL mmol/L"), measured},
	"carbon_dioxide":                   {list("ppm"), measured},
	"carbon_monoxide":                  {list("ppb ppm mg/m³ µg/m³"), measured},
	"conductivity":                     {list("S/cm mS/cm µS/cm"), measured},
	"current":                          {list("A mA"), measured},
	"data_rate":                        {list("bit/s kbit/s Mbit/s Gbit/s B/s kB/s MB/s GB/s KiB/s MiB/s GiB/s"), measured},
	"data_size":                        {list("bit kbit Mbit Gbit B kB MB GB TB PB EB ZB YB KiB MiB GiB TiB PiB EiB ZiB YiB"), anyState},
	"date":                             {[]string{""}, nil},
	"distance":                         {lengths, anyState},
	"duration":                         {list("d h min s ms µs"), anyState},
	"energy":                           {energyUnits, summed},
	"energy_distance":                  {list("kWh/100km Wh/km mi/kWh km/kWh"), measured},
	"energy_storage":                   {energyUnits, measured},
	"frequency":                        {list("mHz Hz kHz MHz GHz"), measured},
	"gas":                              {list("L m³ ft³ CCF MCF"), summed},
	"humidity":                         {list("%"), measured},
	"illuminance":                      {list("lx"), measured},
	"irradiance":                       {list("W/m² BTU/(h⋅ft²)"), measured},
	"moisture":                         {list("%"), measured},
	"nitrogen_dioxide":                 {append(list("µg/m³"), gasParts...), measured},
	"nitrogen_monoxide":                {append(list("µg/m³"), gasParts...), measured},
	"nitrous_oxide":                    {perVolume, measured},
	"ozone":                            {append(list("µg/m³"), gasParts...), measured},
	"ph":                               {[]string{""}, measured},
	"pm1":                              {perVolume, measured},
	"pm10":                             {perVolume, measured},
	"pm25":                             {perVolume, measured},
	"pm4":                              {perVolume, measured},
	"power":                            {list("mW W kW MW GW TW BTU/h"), measured},
	"power_factor":                     {[]string{"", "%"}, measured},
	"precipitation":                    {list("cm in mm"), anyState},
	"precipitation_intensity":          {rainfall, measured},
	"pressure":                         {pressures, measured},
	"reactive_energy":                  {list("varh kvarh"), summed},
	"reactive_power":                   {list("mvar var kvar"), measured},
	"signal_strength":                  {list("dB dBm"), measured},
	"sound_pressure":                   {list("dB dBA"), measured},
	"speed":                            {append(append([]string{}, speeds...), rainfall...), measured},
	"sulphur_dioxide":                  {append(list("µg/m³"), gasParts...), measured},
	"temperature":                      {list("°C °F K"), measured},
	"temperature_delta":                {list("°C °F K"), measured},
	"timestamp":                        {[]string{""}, nil},
	"volatile_organic_compounds":       {list("µg/m³ mg/m³"), measured},
	"volatile_organic_compounds_parts": {gasParts, measured},
	"voltage":                          {list("V mV µV kV MV"), measured},
	"volume":                           {volumes, summed},
	"volume_flow_rate":                 {list("m³/h m³/min m³/s ft³/min L/h L/min L/s gal/d gal/h gal/min mL/s"), measured},
	"volume_storage":                   {volumes, measured},
	"water":                            {list("L m³ ft³ CCF MCF gal"), summed},
	"weight":                           {list("g kg mg µg oz lb st"), anyState},
	"wind_direction":                   {list("°"), []string{"measurement_angle"}},
	"wind_speed":                       {speeds, measured},
}

// micro replaces the Greek letter μ in a unit by the sign µ, which the tables have. A
// keyboard may give either.
func micro(unit string) string { return strings.ReplaceAll(unit, "μ", "µ") }

// checkClasses checks that a sensor's unit, device class and state class fit together by
// Home Assistant's rules.
func checkClasses(path string, s sensor) error {
	if s.stateClass != "" && !slices.Contains(stateClasses, s.stateClass) {
		return wrong(path+".state_class", "must be one of %s", strings.Join(stateClasses, ", "))
	}
	if s.stateClass == "measurement_angle" && s.unit != "°" {
		return wrong(path+".unit", "must be ° with the state class measurement_angle")
	}
	if s.deviceClass == "" {
		return nil
	}
	c, known := classes[s.deviceClass]
	switch {
	case !known:
		return wrong(path+".device_class", "is none that a sensor can have here")
	case !slices.Contains(c.units, micro(s.unit)):
		if c.units[0] == "" && len(c.units) == 1 {
			return wrong(path+".unit", "%s has none", s.deviceClass)
		}
		return wrong(path+".unit", "must be one of %s for %s", strings.TrimSpace(strings.Join(c.units, " ")), s.deviceClass)
	case s.stateClass != "" && !slices.Contains(c.states, s.stateClass):
		return wrong(path+".state_class", "%s cannot have %s", s.deviceClass, s.stateClass)
	}
	return nil
}
